//! Where an operation stands in the stream.

/// Identifies a stream: a new one has another epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u128);

/// A position in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Which stream.
    pub epoch: Epoch,
    /// The sequence of its message.
    pub sequence: u64,
}

/// Where an operation stands in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The position.
    pub position: Position,
    /// The number of changes of its id, with this one.
    pub revision: u32,
}
