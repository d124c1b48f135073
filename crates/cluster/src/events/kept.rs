//! What was sent to other nodes, and may be lost with the connection that it was sent over.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{EventWire, PACE};

/// The pause before the connection is flushed again, if that has failed.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// Limit of the messages that are kept to be sent again. At this limit, nothing more is sent until
/// the server has confirmed them.
pub(super) const KEPT: usize = 8192;

/// Limit of their bytes.
const KEPT_BYTES: usize = 8 << 20;

/// How often an event is tried over connections that do not take it.
const ATTEMPTS: usize = 3;

/// What was sent and may be lost with its connection. It is sent again over the next one, under the
/// same numbers: whoever has received it before drops it.
pub(super) struct Kept<'w> {
    wire: &'w dyn EventWire,
    messages: Vec<(u16, Bytes)>,
    bytes: usize,
    /// The connection that all of them were sent over.
    connection: u64,
}

impl<'w> Kept<'w> {
    pub(super) fn new(wire: &'w dyn EventWire) -> Self {
        Self { wire, messages: Vec::new(), bytes: 0, connection: wire.connections() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= KEPT || self.bytes >= KEPT_BYTES
    }

    /// Sends a message; `false` if it certainly is not sent. If it `keeps` it, waits for a
    /// connection.
    pub(super) async fn publish(&mut self, bucket: u16, message: Bytes, keeps: bool) -> bool {
        if !keeps {
            return self.wire.publish(bucket, message).await;
        }
        for _ in 0..ATTEMPTS {
            while !self.wire.is_open() {
                sleep(PACE).await;
            }
            if self.catch_up().await && self.wire.publish(bucket, message.clone()).await {
                self.bytes += message.len();
                self.messages.push((bucket, message));
                return true;
            }
        }
        false
    }

    /// Sends everything again if there is another connection; `false` if that has failed.
    async fn catch_up(&mut self) -> bool {
        let connection = self.wire.connections();
        if connection != self.connection {
            for (bucket, message) in &self.messages {
                if !self.wire.publish(*bucket, message.clone()).await {
                    return false;
                }
            }
            self.connection = connection;
        }
        true
    }

    /// Waits until the server has received everything.
    pub(super) async fn confirm(&mut self) {
        loop {
            let connection = self.wire.connections();
            if self.catch_up().await && self.wire.flush().await && self.wire.connections() == connection {
                self.messages.clear();
                self.bytes = 0;
                return;
            }
            sleep(RETRY).await;
        }
    }
}
