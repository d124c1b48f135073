//! What a streaming transport is made of.

use std::time::Duration;

use bytes::Bytes;
use event::Event;

use crate::farewell::Farewell;
use crate::transport::Transport;

/// How a streaming transport turns into bytes whatever a client receives. Everything else about
/// streams (queues, limits, termination) is the same for all of them.
pub(crate) struct WireFormat {
    /// Its name.
    pub(crate) transport: Transport,
    /// Encodes an event.
    pub(crate) encode: fn(&Event) -> Bytes,
    /// Keeps an idle stream alive through proxies.
    pub(crate) heartbeat: Bytes,
    /// Encodes the last bytes of a stream that is terminated.
    pub(crate) farewell: fn(&Farewell) -> Bytes,
    /// Encodes the last bytes of a stream that is drained. Where the transport can, they ask the
    /// client to reconnect after this time.
    pub(crate) going_away: fn(Duration) -> Bytes,
}
