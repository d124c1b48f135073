//! A client of Server-Sent Events that sees every byte.

use std::net::SocketAddr;

use crate::client::{Request, Response, chunk, trailers};
use crate::scenarios::redacted;
use crate::wire::Wire;

/// An open stream.
pub struct Sse {
    wire: Wire,
    /// The head of the answer.
    pub head: Response,
    text: String,
    ended: bool,
}

impl Sse {
    /// Connects with this query, without its question mark.
    ///
    /// # Panics
    /// Panics if the gateway refuses.
    pub fn connect(address: SocketAddr, query: &str) -> Self {
        Self::open(address, &Request::get(format!("/_rig/v1/connection/sse?{query}")))
            .unwrap_or_else(|refusal| panic!("refused: {}", refusal.shown()))
    }

    /// Connects with this request, or returns the refusal.
    ///
    /// # Errors
    /// Returns the answer if it is not a stream.
    pub fn open(address: SocketAddr, request: &Request) -> Result<Self, Response> {
        Self::over(request.start(address))
    }

    /// Reads the stream that answers the request sent on `wire`.
    ///
    /// # Errors
    /// Returns the answer if it is not a stream.
    ///
    /// # Panics
    /// Panics if the gateway closes without an answer.
    pub fn over(mut wire: Wire) -> Result<Self, Response> {
        let mut head = Response::read_head(&mut wire).expect("an answer");
        if head.status != 200 {
            let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            head.body = wire.exactly(length).expect("a whole body");
            return Err(head);
        }
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        Ok(Self { wire, head, text: String::new(), ended: false })
    }

    /// Returns the next event or comment as it is on the wire, without its `id` line and the empty
    /// line; `None` at an orderly end of the stream.
    ///
    /// # Panics
    /// Panics if the stream is cut off.
    pub fn raw(&mut self) -> Option<String> {
        let block = self.exact()?;
        let without = block.rsplit_once('\n').filter(|(_, last)| last.starts_with("id:"));
        Some(without.map_or(block.as_str(), |(without, _)| without).to_owned())
    }

    /// Returns the next event or comment as it is on the wire, without the empty line; `None` at an
    /// orderly end of the stream.
    ///
    /// # Panics
    /// Panics if the stream is cut off.
    pub fn exact(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            if self.ended {
                assert!(self.text.is_empty(), "the stream ends in the middle of {:?}", self.text);
                return None;
            }
            match chunk(&mut self.wire) {
                Some(data) => self.text.push_str(std::str::from_utf8(&data).expect("SSE is UTF-8")),
                None => {
                    self.ended = true;
                    trailers(&mut self.wire);
                }
            }
        }
    }

    /// Returns the next heartbeat as it is on the wire; events are skipped.
    ///
    /// # Panics
    /// Panics if the stream ends.
    pub fn next_heartbeat(&mut self) -> String {
        loop {
            let block = self.exact().expect("a heartbeat, not the end of the stream");
            if block.starts_with(": heartbeat") {
                return block;
            }
        }
    }

    /// Returns the next event or comment, redacted.
    ///
    /// # Panics
    /// Panics if the stream ends.
    pub fn next_event(&mut self) -> String {
        redacted(&self.raw().expect("an event, not the end of the stream"))
    }

    /// Returns the data of the next event; comments are skipped.
    ///
    /// # Panics
    /// Panics if the stream ends.
    pub fn next_data(&mut self) -> String {
        loop {
            let raw = self.raw().expect("an event, not the end of the stream");
            let data: Vec<_> = raw.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            if !data.is_empty() {
                return data.join("\n");
            }
        }
    }

    /// Reads the first two events and returns the connection token.
    ///
    /// # Panics
    /// Panics if they are not the first two events of a connection.
    pub fn welcome(&mut self) -> String {
        let created: serde_json::Value = serde_json::from_str(&self.next_data()).expect("JSON");
        assert_eq!(created["type"], "rig.connection.create");
        assert!(self.next_data().contains(r#""type":"rig.subscriptions_set""#));
        created["data"]["connection_token"].as_str().expect("a connection token").to_owned()
    }

    /// Reads the farewell of a revoked connection and the end of the stream.
    ///
    /// # Panics
    /// Panics if anything else arrives.
    pub fn expect_kill(&mut self) {
        let killed =
            r#"{"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.session_killed"}"#;
        assert_eq!(self.next_event(), format!("event: rig.session_killed\ndata: {killed}"));
        assert_eq!(self.raw(), None, "nothing comes after the kill");
    }

    /// Returns the underlying socket.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
