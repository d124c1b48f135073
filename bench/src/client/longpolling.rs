//! A long-polling client: one connection, on which a poll always waits.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;

use super::entrance::Entrance;
use super::http::read_answer;
use super::received::Received;
use super::tls::{BoxedDuplex, send};
use crate::event::contains;
use crate::server::rig::GREETING;

/// What the gateway says to the first request.
const OK: &[u8] = b"\"ok\"";

struct Poller {
    socket: BoxedDuplex,
    /// What stands before the cookies in each request.
    request: String,
    /// The cookies of the last answer, as they are sent.
    cookies: String,
    received: Arc<Received>,
    /// Events so far.
    events: u32,
}

/// Connects client `number` and polls until it is subscribed. The future that is returned goes on
/// polling and counts the events until the connection is closed; the first event must hold the
/// bytes of `first`.
///
/// # Errors
/// Fails if the client is refused.
pub(super) async fn connect(
    entrance: &Entrance,
    number: u32,
    received: Arc<Received>,
    first: Bytes,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let socket = entrance.open(number).await?;
    let path = entrance.path(number)?;
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", entrance.address);
    let (connecting, polling) = (request(&path), request(path.split('?').next().unwrap_or(&path)));
    let mut poller = Poller { socket, request: connecting, cookies: String::new(), received, events: 0 };
    let greeting = poller.poll().await?;
    anyhow::ensure!(greeting == OK, "connecting answers {:?}", String::from_utf8_lossy(&greeting));
    poller.request = polling;
    while !contains(&poller.poll().await?, GREETING) {}
    Ok(poller.read(first))
}

impl Poller {
    async fn read(mut self, first: Bytes) {
        // Boxed: a future that waits is as large as its largest part.
        if Box::pin(self.read_first(&first)).await.is_ok() {
            drop(first);
            while self.poll().await.is_ok() {}
        }
        self.received.note_lost();
    }

    /// The first event comes as a whole, in one answer.
    async fn read_first(&mut self, first: &[u8]) -> anyhow::Result<()> {
        while self.events == 0 {
            let body = self.poll().await?;
            anyhow::ensure!(self.events == 0 || contains(&body, first), "another event came first");
        }
        Ok(())
    }

    /// The body of the next answer; its events are counted.
    async fn poll(&mut self) -> anyhow::Result<Vec<u8>> {
        let cookies = match self.cookies.as_str() {
            "" => String::new(),
            cookies => format!("Cookie: {cookies}\r\n"),
        };
        let request = format!("{}{cookies}\r\n", self.request);
        send(&mut self.socket, request.as_bytes()).await?;
        let mut buffer = Vec::new();
        let (head, body) = read_answer(&mut self.socket, &mut buffer).await.context("poll")?;
        anyhow::ensure!(buffer.is_empty(), "more than an answer");
        anyhow::ensure!(head.status == 200, "a poll answers {}", head.status);
        self.cookies = head.cookies;
        self.events += self.received.count(&body, self.events);
        Ok(body)
    }
}
