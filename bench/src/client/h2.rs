//! Clients of SSE over HTTP/2: one connection, a stream for each of them.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use h2::RecvStream;
use h2::client::{SendRequest, handshake};
use http::{Request, StatusCode};

use super::entrance::Entrance;
use super::received::Received;
use crate::event::contains;
use crate::server::rig::GREETING;

/// One client.
struct EventStream {
    body: RecvStream,
    received: Arc<Received>,
    /// Events so far.
    events: u32,
}

/// Connects the clients of these numbers and waits until each is subscribed. The future that is
/// returned counts their events until the connection is closed; the first event must hold the bytes
/// of `first`.
///
/// # Errors
/// Fails if the connection or one of the streams is refused.
pub(super) async fn connect(
    entrance: &Entrance,
    numbers: Range<u32>,
    received: Arc<Received>,
    first: Bytes,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let socket = entrance.open(numbers.start).await?;
    let (requests, mut connection) = handshake(socket).await?;
    let streams = tokio::select! {
        ended = &mut connection => anyhow::bail!("the connection has ended: {ended:?}"),
        streams = open(entrance, requests, numbers, &received) => streams?,
    };
    Ok(async move {
        let streams = join_all(streams.into_iter().map(|stream| stream.read(first.clone())));
        // An error of the connection is also one of its streams.
        let _ = tokio::join!(connection, streams);
    })
}

async fn open(
    entrance: &Entrance,
    mut requests: SendRequest<Bytes>,
    numbers: Range<u32>,
    received: &Arc<Received>,
) -> anyhow::Result<Vec<EventStream>> {
    let scheme = if entrance.trust.is_some() { "https" } else { "http" };
    let mut streams = Vec::with_capacity(numbers.len());
    for number in numbers {
        requests = requests.ready().await?;
        let uri = format!("{scheme}://{}{}", entrance.address, entrance.path(number)?);
        let request = Request::get(uri).header("accept", "text/event-stream").body(())?;
        let (response, _) = requests.send_request(request, true)?;
        let response = response.await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "refused with {}", response.status());
        let mut stream = EventStream { body: response.into_body(), received: received.clone(), events: 0 };
        stream.read_until(GREETING).await.with_context(|| format!("greeting of client {number}"))?;
        streams.push(stream);
    }
    Ok(streams)
}

impl EventStream {
    /// Counts until the stream ends. The first event must hold the bytes of `first`.
    async fn read(mut self, first: Bytes) {
        if self.read_until(&first).await.is_ok() {
            drop(first);
            while self.take().await.is_ok() {}
        }
        self.received.note_lost();
    }

    async fn read_until(&mut self, part: &[u8]) -> anyhow::Result<()> {
        let mut known = Vec::new();
        while !contains(&known, part) {
            known.extend_from_slice(&self.take().await?);
        }
        Ok(())
    }

    /// Counts the events of the next piece, and gives its room back.
    async fn take(&mut self) -> anyhow::Result<Bytes> {
        let piece = self.body.data().await.context("the stream has ended")??;
        self.body.flow_control().release_capacity(piece.len())?;
        self.events += self.received.count(&piece, self.events);
        Ok(piece)
    }
}
