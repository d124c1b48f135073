//! What an operator decides about connections.

use std::sync::Arc;
use std::time::Duration;

use memory::Memory;

/// What an operator decides about connections.
#[derive(Clone)]
pub struct Config {
    /// Time between two heartbeats (RIG: 15 s).
    pub heartbeat: Duration,
    /// Bytes that may wait for one slow reader before it is cut off.
    pub outbox_bytes: usize,
    /// The most bytes that an event from outside may take of those.
    pub max_event_bytes: usize,
    /// Where bytes that wait for all slow readers are counted.
    pub memory: Arc<Memory>,
    /// How long a poll waits for an event (RIG: 5 s).
    pub poll_wait: Duration,
    /// How long a long-polling connection lives without a poll (RIG: 1 h).
    pub longpolling_idle: Duration,
    /// Over how long a time clients are asked to spread their reconnects when the node leaves.
    pub reconnect_spread: Duration,
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
        }
    }
}
