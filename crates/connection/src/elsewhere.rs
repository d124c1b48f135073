//! What another node has kept for a client that was connected there.

use std::collections::VecDeque;

use history::{EventId, EventPosition, Kept};

/// What another node has kept for a client that was connected there.
#[derive(Debug)]
pub struct Elsewhere {
    /// The events that the client has missed, with their ids at the other node.
    pub events: VecDeque<(EventId, Kept)>,
    /// The position of this node from which on it gets what else it has missed.
    pub position: EventPosition,
}
