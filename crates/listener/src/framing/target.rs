//! Targets as clients send them. Many queries contain `"`, `<`, `>`, backticks and non-ASCII bytes
//! unencoded, although RFC 3986 allows none of them. hyper would refuse them, so it is given a
//! percent-encoded target; a [`RawQuery`] holds the query as the client has sent it.

use std::mem::take;

use bytes::Bytes;
use memchr::{memchr, memchr3};
use tokio::io::ReadBuf;

use crate::path::push_triplet;

/// The query of a request as its client has sent it, without the `?`. It is an extension of the
/// request if parts of the query are percent-encoded in the URI, because a URI cannot hold them. It
/// contains neither spaces nor control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawQuery(Bytes);

impl RawQuery {
    /// Returns the query, byte for byte.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns `true` if hyper was given this query in encoded form. Otherwise hyper has read
    /// another request.
    pub(crate) fn is_of(&self, query: Option<&str>) -> bool {
        let mut encoded = Vec::with_capacity(self.0.len() + 16);
        for byte in &self.0 {
            if is_odd(*byte) { push_triplet(&mut encoded, *byte) } else { encoded.push(*byte) }
        }
        query.is_some_and(|query| query.as_bytes() == encoded)
    }
}

/// Returns `true` if a byte of a query must be percent-encoded before hyper parses it.
const fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>') || !byte.is_ascii()
}

/// The state of the request line that is being read.
#[derive(Debug, Default)]
pub(super) struct RequestLine {
    part: LinePart,
    /// Positions of bytes to encode in the bytes read last.
    odd: Vec<usize>,
    /// Encoded bytes that did not fit into the buffer.
    rest: Vec<u8>,
    /// The query so far; empty if the line arrived at once with nothing to encode.
    query: Vec<u8>,
    /// `true` if a part of the query was encoded.
    is_respelled: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LinePart {
    #[default]
    Method,
    Path,
    Query,
    /// Not part of a target; hyper drops it.
    Fragment,
    Version,
}

impl RequestLine {
    /// Parses a piece of a request line, at position `at` of the bytes read last.
    pub(super) fn follow(&mut self, at: usize, piece: &[u8]) {
        let is_plain = self.part == LinePart::Method
            && memchr3(b'"', b'<', b'>', piece).is_none()
            && memchr(b'`', piece).is_none()
            && piece.is_ascii();
        // Most lines arrive at once and have nothing to encode. All other pieces are parsed byte by
        // byte.
        if is_plain && piece.ends_with(b"\r") {
            return;
        }
        // A multi-byte character of a path may be split at the beginning or the end of the piece,
        // which is no error.
        let is_rest = |byte: &&u8| self.part == LinePart::Path && (0x80..0xC0).contains(*byte);
        let begin = piece.iter().take(3).take_while(is_rest).count();
        let end = memchr(b'?', piece).unwrap_or(piece.len());
        let is_text = std::str::from_utf8(&piece[begin..end])
            .map_or_else(|error| error.error_len().is_none() && end == piece.len(), |_| true);
        for (offset, byte) in piece.iter().enumerate().skip(begin) {
            self.part = match (self.part, byte) {
                (LinePart::Method, b' ') => LinePart::Path,
                (LinePart::Path, b'?') => {
                    self.part = LinePart::Query;
                    continue;
                }
                (LinePart::Path | LinePart::Query, b'#') => LinePart::Fragment,
                (LinePart::Path | LinePart::Query | LinePart::Fragment, b' ') => LinePart::Version,
                (part, _) => part,
            };
            let is_odd = match self.part {
                LinePart::Method | LinePart::Fragment | LinePart::Version => false,
                LinePart::Path => matches!(byte, b'<' | b'>' | b'`') || (!is_text && !byte.is_ascii()),
                LinePart::Query => {
                    self.query.push(*byte);
                    let is_odd = is_odd(*byte);
                    self.is_respelled |= is_odd;
                    is_odd
                }
            };
            if is_odd {
                self.odd.push(at + offset);
            }
        }
    }

    /// Finishes the line. Returns its query if a part of it is encoded.
    pub(super) fn end(&mut self) -> Option<RawQuery> {
        self.part = LinePart::Method;
        let query = take(&mut self.query);
        take(&mut self.is_respelled).then(|| RawQuery(query.into()))
    }

    pub(super) fn encode(&mut self, read: &mut ReadBuf<'_>, from: usize) {
        if self.odd.is_empty() {
            return;
        }
        let mut encoded = Vec::with_capacity(read.filled().len() - from + 2 * self.odd.len());
        let mut odd = take(&mut self.odd).into_iter().peekable();
        for (at, byte) in read.filled()[from..].iter().enumerate() {
            match odd.next_if_eq(&at) {
                Some(_) => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                None => encoded.push(*byte),
            }
        }
        read.set_filled(from);
        self.rest = encoded;
        self.give_rest(read);
    }

    pub(super) fn give_rest(&mut self, into: &mut ReadBuf<'_>) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        let room = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..room]);
        self.rest.drain(..room);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        room > 0
    }

    pub(super) fn and_rest(self, read: Bytes) -> Bytes {
        if self.rest.is_empty() { read } else { [&read[..], &self.rest].concat().into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framing::Framing;

    /// Returns what hyper is given if the bytes arrive in pieces of this size, in a buffer with
    /// this room.
    fn parsed(bytes: &[u8], piece: usize, room: usize) -> String {
        follow(&mut Framing::default(), bytes, piece, room)
    }

    fn follow(framing: &mut Framing, bytes: &[u8], piece: usize, room: usize) -> String {
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut space = vec![0; room.max(piece.len())];
            let mut read = ReadBuf::new(&mut space);
            read.put_slice(piece);
            let followed = framing.follow(piece).unwrap();
            assert_eq!(followed, piece.len());
            framing.encode(&mut read, 0);
            all.extend_from_slice(read.filled());
            loop {
                let mut space = [0; 2];
                let mut read = ReadBuf::new(&mut space);
                if !framing.give_rest(&mut read) {
                    break;
                }
                all.extend_from_slice(read.filled());
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn f47_what_the_parser_refuses_is_encoded_however_it_comes() {
        let cases: [(&[u8], &str); 7] = [
            (b"GET /a\"{|}^?b=\"<c>\"&`{|}^ HTTP/1.1\r\n", "GET /a\"{|}^?b=%22%3Cc%3E%22&`{|}^ HTTP/1.1\r\n"),
            (b"GET /<a>`?%22 HTTP/1.1\r\n", "GET /%3Ca%3E%60?%22 HTTP/1.1\r\n"),
            ("GET /é?é=\" HTTP/1.1\r\n".as_bytes(), "GET /é?%C3%A9=%22 HTTP/1.1\r\n"),
            (b"GET /a?<#\"> HTTP/1.1\r\n", "GET /a?%3C#\"> HTTP/1.1\r\n"),
            (b"GET /a HTTP/1.1\r\nx: \"<>`\r\n\r\n", "GET /a HTTP/1.1\r\nx: \"<>`\r\n\r\n"),
            (
                b"\r\nGET /?\" HTTP/1.1\r\n\r\nGET /?< HTTP/1.1\r\n\r\n",
                "\r\nGET /?%22 HTTP/1.1\r\n\r\nGET /?%3C HTTP/1.1\r\n\r\n",
            ),
            (b"G\"T /\"?> HTTP/\"\r\n", "G\"T /\"?%3E HTTP/\"\r\n"),
        ];
        for (bytes, expected) in cases {
            for piece in 1..=bytes.len() {
                for room in [1, bytes.len(), 2 * bytes.len()] {
                    assert_eq!(parsed(bytes, piece, room), expected, "in pieces of {piece}");
                }
            }
        }
        // Tested in one piece only: pieces of it may look like UTF-8, and lines are almost never
        // split.
        let latin1 = b"GET /\xE9?\xE9=1 HTTP/1.1\r\n";
        assert_eq!(parsed(latin1, latin1.len(), 64), "GET /%E9?%E9=1 HTTP/1.1\r\n");
    }

    fn query() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            prop_oneof![Just(b'"'), Just(b'<'), Just(b'&'), 0x21..0x7f_u8, 0x80..=0xff_u8, Just(b'%')],
            0..20,
        )
    }

    proptest! {
        /// Sends several requests one after the other. A piece may contain the end of one and the
        /// beginning of the next.
        #[test]
        fn f47_each_head_has_the_query_that_its_client_has_sent(
            queries in prop::collection::vec(query(), 1..6),
            piece in 1..200_usize,
            room in 1..100_usize,
        ) {
            let mut bytes = Vec::new();
            for query in &queries {
                bytes.extend([b"GET /a?", &query[..], b" HTTP/1.1\r\nhost: \"<\r\n\r\n"].concat());
            }
            let mut framing = Framing::default();
            let parsed = follow(&mut framing, &bytes, piece, room);
            let lines = parsed.split("\r\n").filter_map(|line| line.strip_prefix("GET "));
            for (line, query) in lines.zip(&queries) {
                let fragment = query.iter().position(|byte| *byte == b'#');
                let query = &query[..fragment.unwrap_or(query.len())];
                let uri: http::Uri = line.strip_suffix(" HTTP/1.1").unwrap().parse().unwrap();
                let raw = framing.next_head().unwrap();
                prop_assert_eq!(raw.is_some(), query.iter().any(|byte| is_odd(*byte)));
                match raw {
                    None => prop_assert_eq!(uri.query().unwrap().as_bytes(), query),
                    Some(raw) => {
                        prop_assert!(raw.is_of(uri.query()));
                        prop_assert_eq!(raw.as_bytes(), query);
                    }
                }
            }
            prop_assert!(framing.next_head().is_err());
        }
    }

    #[test]
    fn f47_a_query_is_that_of_its_own_head() {
        let raw = RawQuery(Bytes::from_static(b"a=\"%22\xff"));
        assert!(raw.is_of(Some("a=%22%22%FF")));
        for other in ["a=%22%22%ff", "a=\"%22%FF", "a=%22%22%FF&", "a=%22%FF", ""] {
            assert!(!raw.is_of(Some(other)), "{other}");
        }
        assert!(!raw.is_of(None));
    }
}
