//! What a streaming transport is made of.

use std::time::Duration;

use bytes::Bytes;

use crate::farewell::Farewell;
use crate::transport::Transport;

/// How a streaming transport turns into bytes whatever a client receives. Everything else about
/// streams (queues, limits, termination) is the same for all of them.
pub(crate) struct WireFormat {
    /// Its name.
    pub(crate) transport: Transport,
    /// Encodes an event: its type, its JSON, and the id of its position.
    pub(crate) encode: fn(&str, &[u8], Option<&str>) -> Bytes,
    /// Encodes what keeps an idle stream alive through proxies. With an id, the client learns how
    /// far it has got.
    pub(crate) heartbeat: fn(Option<&str>) -> Bytes,
    /// Encodes the last bytes of a stream that is terminated. With an id, which is empty, the
    /// client forgets how far it has got.
    pub(crate) farewell: fn(&Farewell, Option<&str>) -> Bytes,
    /// Encodes the last bytes of a stream that is drained. Where the transport can, they ask the
    /// client to reconnect after this time.
    pub(crate) going_away: fn(Duration) -> Bytes,
}
