//! Targets as clients send them: `"`, `<` and `>` stand in many queries as they are, and so do backticks and bytes that are not
//! UTF-8, though RFC 3986 has none of them. The parser would refuse them, so it gets them percent-encoded.

use bytes::Bytes;
use memchr::{memchr, memchr3};
use tokio::io::ReadBuf;

/// What is known of the request line that is being read.
#[derive(Debug, Default)]
pub(super) struct Target {
    part: Part,
    /// Where bytes to encode stand in what was read last.
    odd: Vec<usize>,
    /// Encoded bytes that found no room.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Method,
    Path,
    Query,
    Version,
}

impl Target {
    /// Goes through a piece of a request line that stands at `at` in what was read.
    pub(super) fn follow(&mut self, at: usize, piece: &[u8]) {
        let is_plain = self.part == Part::Method
            && memchr3(b'"', b'<', b'>', piece).is_none()
            && memchr(b'`', piece).is_none()
            && piece.is_ascii();
        // Most lines come whole, and have nothing of that. Another piece looks from its first byte on.
        if is_plain && piece.ends_with(b"\r") {
            return;
        }
        // A character may be cut in two where the piece begins or ends; that alone is not wrong.
        let is_rest = |byte: &&u8| self.part != Part::Method && (0x80..0xC0).contains(*byte);
        let begin = piece.iter().take(3).take_while(is_rest).count();
        let is_text =
            std::str::from_utf8(&piece[begin..]).map_or_else(|error| error.error_len().is_none(), |_| true);
        for (offset, byte) in piece.iter().enumerate().skip(begin) {
            self.part = match (self.part, byte) {
                (Part::Method, b' ') => Part::Path,
                (Part::Path, b'?') => Part::Query,
                (Part::Path | Part::Query, b' ') => Part::Version,
                (part, _) => part,
            };
            let is_odd = match self.part {
                Part::Method | Part::Version => false,
                Part::Path => matches!(byte, b'<' | b'>' | b'`') || (!is_text && !byte.is_ascii()),
                Part::Query => matches!(byte, b'"' | b'<' | b'>') || (!is_text && !byte.is_ascii()),
            };
            if is_odd {
                self.odd.push(at + offset);
            }
        }
    }

    /// The line has come to its end.
    pub(super) fn end(&mut self) {
        self.part = Part::Method;
    }

    pub(super) fn encode(&mut self, read: &mut ReadBuf<'_>, from: usize) {
        if self.odd.is_empty() {
            return;
        }
        let mut encoded = Vec::with_capacity(read.filled().len() - from + 2 * self.odd.len());
        let mut odd = std::mem::take(&mut self.odd).into_iter().peekable();
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
    use super::*;
    use crate::framing::Framing;

    /// What the parser gets of bytes that come in pieces of so many, into a buffer with so much room.
    fn parsed(bytes: &[u8], piece: usize, room: usize) -> String {
        let mut framing = Framing::default();
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
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn f47_what_the_parser_refuses_is_encoded_however_it_comes() {
        let cases: [(&[u8], &str); 6] = [
            (b"GET /a\"{|}^?b=\"<c>\"&`{|}^ HTTP/1.1\r\n", "GET /a\"{|}^?b=%22%3Cc%3E%22&`{|}^ HTTP/1.1\r\n"),
            (b"GET /<a>`?%22 HTTP/1.1\r\n", "GET /%3Ca%3E%60?%22 HTTP/1.1\r\n"),
            ("GET /é?é=\"é HTTP/1.1\r\n".as_bytes(), "GET /é?é=%22é HTTP/1.1\r\n"),
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
        // It comes whole, nearly always; where it is cut, its pieces may look like text.
        let latin1 = b"GET /\xE9?\xE9=1 HTTP/1.1\r\n";
        assert_eq!(parsed(latin1, latin1.len(), 64), "GET /%E9?%E9=1 HTTP/1.1\r\n");
    }
}
