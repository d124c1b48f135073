//! A client that publishes on one socket, without waiting for each answer.

use std::net::SocketAddr;

use crate::client::{Request, Response};
use crate::wire::Wire;

/// A socket over which events are published one after the other.
pub struct Publisher {
    address: SocketAddr,
    wire: Wire,
    /// The number of events without an answer yet.
    open: usize,
}

impl Publisher {
    /// Connects to a port of the gateway.
    pub fn to(address: SocketAddr) -> Self {
        Self { address, wire: Wire::connect(address), open: 0 }
    }

    /// Sends an event and does not wait for its answer.
    pub fn send(&mut self, event: &str) {
        self.wire.send(Request::post_json("/_rig/v1/events", event).bytes(self.address));
        self.open += 1;
    }

    /// Waits until all events are accepted.
    ///
    /// # Panics
    /// Panics if one is not.
    pub fn settle(&mut self) {
        for _ in 0..std::mem::take(&mut self.open) {
            let response = Response::read(&mut self.wire, false);
            assert_eq!(response.status, 202, "{}", response.text());
        }
    }

    /// Publishes an event.
    ///
    /// # Panics
    /// Panics if it is not accepted.
    pub fn publish(&mut self, event: &str) {
        self.send(event);
        self.settle();
    }
}
