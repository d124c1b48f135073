//! Where clients of the gateway come in, and how.

use std::net::SocketAddr;
use std::ops::Range;

use anyhow::Context;
use bytes::Bytes;

use super::received::Received;
use super::subscriber::Subscriber;
use super::tls::{BoxedDuplex, Trust, dial};
use super::variant::{Variant, Way};
use super::{Crowd, h2, longpolling};
use crate::Streaming;
use crate::server::{Handshake, rig};
use crate::token;

/// A port of the gateway, and how clients use it.
pub(crate) struct Entrance {
    pub(crate) address: SocketAddr,
    pub(crate) variant: Variant,
    /// For TLS.
    pub(crate) trust: Option<Trust>,
}

impl Entrance {
    /// Connects the clients of these numbers and waits until each is subscribed. The first event
    /// that they get must hold the bytes of `first`.
    ///
    /// # Errors
    /// One of them is refused, they take too long, or the gateway has no such variant.
    pub(crate) async fn crowd(&self, numbers: Range<u32>, first: &Bytes) -> anyhow::Result<Crowd> {
        let (received, Range { start, end }) = (Received::default(), numbers);
        match (self.variant.way, self.variant.http2) {
            (Way::Sse, Some(streams)) => {
                let batches = (start..end).step_by(streams as usize);
                let batches = batches.map(|from| from..(from + streams).min(end));
                Crowd::gather(received, batches, async |batch, received| {
                    h2::connect(self, batch, received, first.clone()).await
                })
                .await
            }
            (Way::Ws | Way::LongPolling, Some(_)) => {
                anyhow::bail!("over HTTP/2 there are clients of SSE only")
            }
            (Way::LongPolling, None) => {
                Crowd::gather(received, start..end, async |number, received| {
                    longpolling::connect(self, number, received, first.clone()).await
                })
                .await
            }
            (Way::Sse, None) => self.stream(Streaming::Sse, start..end, received, first).await,
            (Way::Ws, None) => self.stream(Streaming::Ws, start..end, received, first).await,
        }
    }

    async fn stream(
        &self,
        transport: Streaming,
        numbers: Range<u32>,
        received: Received,
        first: &Bytes,
    ) -> anyhow::Result<Crowd> {
        let handshake = Handshake { address: self.address, transport, hello: b"", greeting: rig::GREETING };
        Crowd::gather(received, numbers, async |number, received| {
            let (socket, request) = (self.open(number).await?, handshake.request(&self.path(number)?));
            Ok(Subscriber::greet(socket, handshake, &request, received).await?.read(first.clone()))
        })
        .await
    }

    /// A new connection of client `number`.
    ///
    /// # Errors
    /// The gateway cannot be reached, or the handshake of TLS fails.
    pub(super) async fn open(&self, number: u32) -> anyhow::Result<BoxedDuplex> {
        let stream = dial(self.address, number, None).await?;
        // TLS and HTTP/2 write several times before they read, and would wait for acknowledgements.
        stream.set_nodelay(true)?;
        match &self.trust {
            Some(trust) => trust.shake_hands(stream).await.context("TLS"),
            None => Ok(Box::new(stream)),
        }
    }

    /// The path that connects client `number`.
    pub(super) fn path(&self, number: u32) -> anyhow::Result<String> {
        let way = match self.variant.way {
            Way::Sse => "sse",
            Way::Ws => "ws",
            Way::LongPolling => "longpolling",
        };
        let token = if self.variant.session { Some(token::mint(number)?) } else { None };
        Ok(rig::opening(way, rig::SUBSCRIPTIONS, token.as_deref()))
    }
}
