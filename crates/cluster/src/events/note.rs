//! What a node says between its events.

/// Stands for events, or says that none follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing follows for now after the event with this number, so whoever lacks a number up to
    /// it has lost the event. The note itself has a number beyond those of [events](EVENTS).
    Head(u64),
    /// This many numbers, up to its own, are those of events that could not be sent.
    /// The publisher has counted them as lost.
    Unsent(u64),
}

/// Events, and notes that stand for events, have lower numbers than this.
pub(super) const EVENTS: u64 = 1 << 63;

const HEAD: u8 = b'h';
const UNSENT: u8 = b'u';

impl Note {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (kind, number) = match self {
            Self::Head(last) => (HEAD, last),
            Self::Unsent(count) => (UNSENT, count),
        };
        [&[kind][..], &number.to_be_bytes()].concat()
    }

    /// Returns `None` for a note that this version does not know.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        match *kind {
            HEAD => Some(Self::Head(number)),
            UNSENT => Some(Self::Unsent(number.max(1))),
            _ => None,
        }
    }
}
