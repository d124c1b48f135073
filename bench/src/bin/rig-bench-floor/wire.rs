//! The bytes: requests as the load generator writes them, and answers and frames as the gateway
//! writes them.

use std::fmt::Write;

use anyhow::Context;

/// The head of a stream of events.
pub(crate) const SSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// The end of the handshake, for the key of RFC 6455's example, which is the one that the load
/// generator sends.
pub(crate) const WEBSOCKET: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The answer to an event.
pub(crate) const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

/// Bytes of the longest head.
const LONGEST_HEAD: usize = 8192;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParsedRequest<'a> {
    Sse,
    WebSocket,
    /// To publish this event.
    Event(&'a [u8]),
}

/// Returns the request that `bytes` begin with and its length; `None` if it is not complete.
///
/// # Errors
/// Fails if the request is not one of [`ParsedRequest`].
pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(ParsedRequest<'_>, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        anyhow::ensure!(bytes.len() < LONGEST_HEAD, "a head without an end");
        return Ok(None);
    };
    let (head, body) = (std::str::from_utf8(&bytes[..end])?, &bytes[end + 4..]);
    let mut lines = head.split("\r\n");
    let length = match lines.next() {
        Some("GET /sse HTTP/1.1") => return Ok(Some((ParsedRequest::Sse, end + 4))),
        Some("GET /ws HTTP/1.1") => return Ok(Some((ParsedRequest::WebSocket, end + 4))),
        Some("POST /events HTTP/1.1") => content_length(lines)?,
        line => anyhow::bail!("unknown here: {line:?}"),
    };
    Ok(body.get(..length).map(|event| (ParsedRequest::Event(event), end + 4 + length)))
}

fn content_length<'a>(mut lines: impl Iterator<Item = &'a str>) -> anyhow::Result<usize> {
    let value = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value.context("an event without a length")?.trim().parse().context("the length of an event")
}

/// An event for all subscribers of each transport.
pub(crate) struct ReadyFrames {
    pub(crate) sse: Vec<u8>,
    pub(crate) websocket: Vec<u8>,
}

impl ReadyFrames {
    /// # Errors
    /// The event is longer than 65,535 bytes.
    pub(crate) fn of(event: &[u8]) -> anyhow::Result<Self> {
        let (before, after) = (b"event: greeting\ndata: ", b"\n\n");
        let mut size = String::new();
        write!(size, "{:x}", before.len() + event.len() + after.len())?;
        let sse = [size.as_bytes(), b"\r\n", before, event, after, b"\r\n"].concat();
        // RFC 6455, section 5.2: a whole text that is not masked; 126 says that the length has two
        // bytes.
        let length = u16::try_from(event.len()).context("the length of an event")?;
        let header = match length {
            0..126 => vec![0x81, length as u8],
            _ => [&[0x81, 126][..], &length.to_be_bytes()].concat(),
        };
        Ok(Self { sse, websocket: [&header, event].concat() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_one_after_the_other() {
        let event = b"POST /events HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 2\r\n\r\n{}";
        let both = [&event[..], b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(parse(&both).unwrap(), Some((ParsedRequest::Event(b"{}"), event.len())));
        assert_eq!(parse(&both[event.len()..]).unwrap(), Some((ParsedRequest::WebSocket, 29)));
        for end in 0..event.len() {
            assert_eq!(parse(&event[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for head in ["GET / HTTP/1.1\r\n\r\n", "POST /events HTTP/1.1\r\nHost: a\r\n\r\n"] {
            assert!(parse(head.as_bytes()).is_err(), "{head}");
        }
        assert!(parse(&[b'a'; LONGEST_HEAD]).is_err());
    }

    #[test]
    fn frames_hold_the_event_in_the_framing_of_their_transport() {
        let ReadyFrames { sse, websocket } = ReadyFrames::of(b"{}").unwrap();
        assert_eq!(sse, b"1a\r\nevent: greeting\ndata: {}\n\n\r\n");
        assert_eq!(websocket, [0x81, 2, b'{', b'}']);
        let ReadyFrames { websocket, .. } = ReadyFrames::of(&[b'x'; 256]).unwrap();
        assert_eq!(websocket[..5], [0x81, 126, 1, 0, b'x']);
        assert!(ReadyFrames::of(&[b'x'; 65_536]).is_err());
    }
}
