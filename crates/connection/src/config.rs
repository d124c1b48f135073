//! The configuration of connections.

use std::sync::Arc;
use std::time::Duration;

use memory::Memory;
use session::Fencing;

use crate::sequencer::Sequencer;

/// The configuration of connections.
#[derive(Clone)]
pub struct Config {
    /// Time between two heartbeats (RIG: 15 s).
    pub heartbeat: Duration,
    /// The limit of bytes that wait for one slow reader, before it is aborted.
    pub outbox_bytes: usize,
    /// The limit of bytes that an event from outside takes of those.
    pub max_event_bytes: usize,
    /// Counts the bytes that wait for all slow readers, and evicts at their limit.
    pub memory: Arc<Memory>,
    /// How long a poll waits for an event (RIG: 5 s).
    pub poll_wait: Duration,
    /// How long a long-polling connection lives without a poll (RIG: 1 h).
    pub longpolling_idle: Duration,
    /// The time over which clients are asked to spread their reconnects when the node shuts down.
    pub reconnect_spread: Duration,
    /// The fences of payload and of new clients, for connections that belong to a session.
    pub fencing: Fencing,
    /// Keeps the recent events, for clients that come back; `None`: none are kept.
    pub history: Option<Arc<Sequencer>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            outbox_bytes: 1 << 20,
            max_event_bytes: 1 << 20,
            memory: Memory::new(usize::MAX),
            poll_wait: Duration::from_secs(5),
            longpolling_idle: Duration::from_secs(3600),
            reconnect_spread: Duration::from_secs(10),
            fencing: Fencing::default(),
            history: None,
        }
    }
}
