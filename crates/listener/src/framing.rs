//! Where one HTTP/1 request ends and the next begins, read strictly (RFC 9112, sections 2.2, 6 and 7.1).
//!
//! hyper takes more than is unambiguous and takes away the traces: beside a Transfer-Encoding its service does not see
//! the Content-Length, of several Content-Length it sees one, a bare LF ends its lines, and a chunk size may be followed
//! by blanks. Two servers in a row that read such a request in two ways can be made to disagree on where it ends, and
//! what one takes for its body the other takes for the next request. So the bytes are read along before hyper has them.
//! A head that is flawed gets 400, a body that is flawed ends there.

use memchr::memchr;

use crate::http1::MAX_HEAD;

/// Bytes of a line that gives a chunk's size, with its extensions, which nobody uses for good.
const MAX_CHUNK_LINE: usize = 256;

/// Reads a connection's requests along.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The beginning of a line of which the end has not come.
    partial: Vec<u8>,
    sound: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A request line, or empty lines before it.
    #[default]
    Start,
    /// A header field.
    Field(Length),
    /// Content, or that of one chunk.
    Content { left: u64, chunked: bool },
    /// The size of a chunk.
    ChunkSize,
    /// The end of a chunk.
    ChunkEnd,
    /// A trailer field.
    Trailer,
    /// Whatever: the head is flawed, and the last of this connection.
    Flawed,
    /// Nothing any more: the body is flawed.
    Broken,
}

/// How long the content is, as far as the head has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    content: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Reads what has come, and returns how much of it may be used: less than all where a body is flawed.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let rest = &bytes[at..]
            && !rest.is_empty()
        {
            match self.state {
                State::Flawed => break,
                State::Broken => return at,
                State::Content { left, chunked } => {
                    let here = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    at += here;
                    self.state = State::content(left - here as u64, chunked);
                }
                _ => {
                    let end = memchr(b'\n', rest).map(|end| end + 1);
                    let line = &rest[..end.unwrap_or(rest.len())];
                    self.line(line, end.is_some());
                    if self.is_broken() {
                        return at;
                    }
                    at += line.len();
                }
            }
        }
        bytes.len()
    }

    /// The heads so far that have come whole and without a flaw.
    pub(crate) const fn sound(&self) -> usize {
        self.sound
    }

    /// Whether nothing that comes may be used any more.
    pub(crate) const fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    fn line(&mut self, line: &[u8], whole: bool) {
        let before = self.state;
        if self.partial.len() + line.len() > before.longest_line() {
            self.state = before.flawed();
        } else if !whole {
            self.partial.extend_from_slice(line);
            return;
        } else if self.partial.is_empty() {
            self.state = before.after(line);
        } else {
            self.partial.extend_from_slice(line);
            self.state = before.after(&self.partial);
        }
        self.partial = Vec::new();
        if matches!(before, State::Field(_)) && !matches!(self.state, State::Field(_) | State::Flawed) {
            self.sound += 1;
        }
    }
}

impl State {
    const fn content(left: u64, chunked: bool) -> Self {
        match (left, chunked) {
            (0, false) => Self::Start,
            (0, true) => Self::ChunkEnd,
            _ => Self::Content { left, chunked },
        }
    }

    const fn longest_line(self) -> usize {
        match self {
            Self::ChunkSize | Self::ChunkEnd => MAX_CHUNK_LINE,
            _ => MAX_HEAD,
        }
    }

    const fn flawed(self) -> Self {
        match self {
            Self::Start | Self::Field(_) => Self::Flawed,
            _ => Self::Broken,
        }
    }

    /// What comes after a line, which ends in LF.
    fn after(self, line: &[u8]) -> Self {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return self.flawed();
        };
        let next = match self {
            Self::Start if line.is_empty() => Some(Self::Start),
            Self::Start => Some(Self::Field(Length::default())),
            Self::Field(Length { chunked: true, .. }) if line.is_empty() => Some(Self::ChunkSize),
            Self::Field(length) if line.is_empty() => Some(Self::content(length.content.unwrap_or(0), false)),
            Self::Field(length) => length.with(line).map(Self::Field),
            Self::ChunkSize => chunk_size(line).map(|size| match size {
                0 => Self::Trailer,
                size => Self::content(size, true),
            }),
            Self::ChunkEnd => line.is_empty().then_some(Self::ChunkSize),
            Self::Trailer if line.is_empty() => Some(Self::Start),
            Self::Trailer => (!belongs_to_heads(line)).then_some(Self::Trailer),
            Self::Content { .. } | Self::Flawed | Self::Broken => Some(self),
        };
        next.unwrap_or_else(|| self.flawed())
    }
}

impl Length {
    /// Takes a header field in; nothing where it leaves the length open to doubt (RFC 9112, section 6.3).
    fn with(self, line: &[u8]) -> Option<Self> {
        let (name, value) = field(line);
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.iter().all(u8::is_ascii_digit).then_some(value)?;
            let content = Some(std::str::from_utf8(digits).ok()?.parse().ok()?);
            return (self.content.is_none() && !self.chunked).then_some(Self { content, ..self });
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = value.eq_ignore_ascii_case(b"chunked");
            return (chunked && self.content.is_none() && !self.chunked).then_some(Self { chunked, ..self });
        }
        Some(self)
    }
}

/// A field's name and value; of a line without colon, which hyper refuses, all is the name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = memchr(b':', line).unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    (name, value.strip_prefix(b":").unwrap_or(value).trim_ascii())
}

/// Whether a trailer is one of those that say how to read a message or whom it is for (RFC 9110, section 6.5.1).
fn belongs_to_heads(line: &[u8]) -> bool {
    let (name, _) = field(line);
    [&b"content-length"[..], b"transfer-encoding", b"host", b"connection"]
        .iter()
        .any(|of_heads| name.eq_ignore_ascii_case(of_heads))
}

/// The size of a chunk; extensions, if there are any, begin at a semicolon and are text.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extensions) = line.split_at(digits);
    let extensions = extensions.trim_ascii_start();
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if size.len() > 16
        || !(line.len() == digits || extensions.starts_with(b";"))
        || !extensions.iter().all(is_text)
    {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a stream that comes in pieces of this size: sound heads, bytes that may be used.
    fn read(bytes: &[u8], piece: usize) -> (usize, usize) {
        let mut framing = Framing::default();
        let mut used = 0;
        for piece in bytes.chunks(piece) {
            used += framing.read(piece);
            if framing.is_broken() {
                break;
            }
        }
        (framing.sound(), used)
    }

    #[test]
    fn requests_are_told_apart_in_pieces_of_any_size() {
        let stream = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n\r\n\r\nab\
            POST / HTTP/1.1\r\ntransfer-encoding:\tChunked \r\n\r\n4;a=\"b\"\r\nGET \r\n000a\r\n0123456789\r\n0\r\nx: y\r\n\r\n\
            PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for piece in 1..stream.len() {
            assert_eq!(read(stream, piece), (5, stream.len()), "pieces of {piece}");
        }
    }

    #[test]
    fn a_flawed_head_is_not_sound_nor_is_what_follows() {
        for flaw in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding:\r\n",
            "X: y\n",
        ] {
            let stream = format!("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n{flaw}\r\nGET / HTTP/1.1\r\n\r\n");
            for piece in [1, 7, stream.len()] {
                assert_eq!(read(stream.as_bytes(), piece), (1, stream.len()), "{flaw:?}");
            }
        }
    }

    #[test]
    fn nothing_is_used_of_a_line_that_breaks_a_body() {
        let long = format!("1;{}\r\n", "x".repeat(MAX_CHUNK_LINE));
        for flaw in [
            "\r\n",
            " 1\r\n",
            "1 \r\n",
            "0x1\r\n",
            "-1\r\n",
            "1\n",
            "1;a\rb\r\n",
            "1;\0\r\n",
            &long,
            "11111111111111111\r\n",
            "1\r\nab",
            "1\r\na\n",
            "0\r\na: b\n",
            "0\r\ncontent-length: 5\r\n",
        ] {
            let start = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
            let stream = format!("{start}{flaw}\r\n\r\nGET / HTTP/1.1\r\n\r\n");
            let (sound, used) = read(stream.as_bytes(), stream.len());
            let good =
                ["1\r\na", "0\r\n"].iter().find(|good| flaw.starts_with(**good)).map_or(0, |good| good.len());
            assert_eq!((sound, used), (1, start.len() + good), "{flaw:?}");
        }
    }

    #[test]
    fn what_is_kept_of_a_line_is_bounded() {
        let mut framing = Framing::default();
        for _ in 0..MAX_HEAD {
            framing.read(b"xx");
        }
        assert!(framing.partial.is_empty());
        assert_eq!(framing.sound(), 0);
    }
}
