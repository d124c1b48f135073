//! Protects against request smuggling: a request that two servers could read differently is refused
//! and never forwarded.
//!
//! hyper repairs some of these requests silently. The head that the application sees shows neither
//! a `Content-Length` beside `Transfer-Encoding`, nor a repeated `Content-Length`, nor lines that
//! end in a bare LF. So this module parses the incoming bytes itself, message by message, in
//! parallel to hyper. Well-formed bytes can be read in only one way; at the first ambiguity the
//! request is refused and the connection closed.

mod rules;
mod target;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr;
use tokio::io::ReadBuf;

use crate::path::PathFault;
pub(crate) use rules::fault;
pub use target::RawQuery;
use target::RequestLine;

/// How many bytes are stored of a line that arrives in pieces. No line that matters is longer: some
/// clients sign their chunks with extensions of about 90 bytes.
const KEPT: usize = 256;

/// A line of this length or more, with a length or a coding, is refused as padded.
const PADDED: usize = 64;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageFault {
    /// RFC 9112, section 6.1: a server may refuse it, and it "ought to be handled as an error".
    #[error("Content-Length and Transfer-Encoding must not stand beside each other.")]
    BothLengths,
    /// RFC 9110, section 8.6: a list or a repetition may be refused. RFC 9112, section 6.3, 5: an
    /// invalid one must be.
    #[error("Content-Length must stand once, and be a decimal number below 2^63.")]
    ContentLength,
    /// RFC 9112, section 6.1: no coding but `chunked` is known here, and that may be applied only
    /// once.
    #[error("Transfer-Encoding must stand once, and be chunked.")]
    TransferEncoding,
    /// RFC 9112, section 2.2: a bare LF may be read as the end of a line, but some servers read it
    /// as a part of a value.
    #[error("Lines must end with CR and LF.")]
    LineEnd,
    /// RFC 9112, section 7.1.
    #[error("The request body is not chunked as it should be.")]
    Chunk,
    /// Services that treat `_` as `-` would read it as another name.
    #[error("A header name must not be that of a length with _ for -.")]
    Disguised,
    /// RFC 9112, section 3.2: an HTTP/1.1 request without `Host`, with several, or with an invalid
    /// one is answered with 400.
    #[error("Host must stand once, and name a host.")]
    Host,
    /// RFC 9112, section 3.2.2 prefers the target; a proxy in front of the gateway may have used
    /// `Host`.
    #[error("Host must be the host of the request's target.")]
    OtherHost,
    /// RFC 9112, section 3.2; RFC 9110, section 4.2.4 for user information.
    #[error("The request's target must be a path, or an http or https URL without user information.")]
    Target,
    /// RFC 9110, section 10.1.1.
    #[error("Expect must be 100-continue.")]
    Expect,
    /// The path has no normal form.
    #[error(transparent)]
    Path(#[from] PathFault),
}

/// Follows the bytes of an HTTP/1 connection from one request to the next.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    part: MessagePart,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    /// The number of well-formed heads that hyper has not handed over yet.
    heads: u32,
    /// The number of heads that hyper has handed over.
    handed: u64,
    /// The original queries of heads that hyper has not handed over, each with the number of its
    /// head on this connection.
    queries: VecDeque<(u64, RawQuery)>,
    head: Head,
    /// The first fault; no bytes are parsed after it.
    fault: Option<MessageFault>,
    /// The fault is in a body.
    broken: bool,
    request_line: RequestLine,
}

#[derive(Clone, Copy, Debug, Default)]
enum MessagePart {
    #[default]
    RequestLine,
    Field,
    /// A body, of which this many bytes are left.
    Body(u64),
    ChunkSize,
    /// A chunk, of which this many bytes are left.
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Parses incoming bytes. Returns how many of them may be given to hyper: all, unless a body is
    /// malformed. A fault in a head is answered when hyper hands that head over.
    ///
    /// # Errors
    /// Fails if a body was malformed before.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, MessageFault> {
        let mut rest = bytes;
        while !rest.is_empty() && self.fault.is_none() {
            if let MessagePart::Body(left) | MessagePart::Chunk(left) = &mut self.part {
                let step = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= step as u64;
                rest = &rest[step..];
                self.part = match self.part {
                    MessagePart::Body(0) => MessagePart::RequestLine,
                    MessagePart::Chunk(0) => MessagePart::ChunkEnd,
                    part => part,
                };
                continue;
            }
            let end = memchr(b'\n', rest);
            if let MessagePart::RequestLine = self.part {
                self.request_line.follow(bytes.len() - rest.len(), &rest[..end.unwrap_or(rest.len())]);
            }
            let Some(end) = end else {
                self.keep(rest);
                break;
            };
            let in_body = !matches!(self.part, MessagePart::RequestLine | MessagePart::Field);
            let ended = if self.line.is_empty() {
                self.end_line(&rest[..end])
            } else {
                self.keep(&rest[..end]);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line)
            };
            if let Err(fault) = ended {
                self.fault = Some(fault);
                self.broken = in_body;
                break;
            }
            rest = &rest[end + 1..];
        }
        let followed = if self.broken { bytes.len() - rest.len() } else { bytes.len() };
        if followed == 0 { self.go_on().map(|()| 0) } else { Ok(followed) }
    }

    /// Checks that hyper may continue to read.
    ///
    /// # Errors
    /// Fails if the body is malformed.
    pub(crate) fn go_on(&self) -> Result<(), MessageFault> {
        self.fault.filter(|_| self.broken).map_or(Ok(()), Err)
    }

    /// Returns `true` if a head has begun and is not complete.
    pub(crate) fn is_in_head(&self) -> bool {
        match self.part {
            MessagePart::RequestLine => !self.line.is_empty(),
            MessagePart::Field => true,
            MessagePart::Body(_)
            | MessagePart::ChunkSize
            | MessagePart::Chunk(_)
            | MessagePart::ChunkEnd
            | MessagePart::Trailer => false,
        }
    }

    /// Returns `true` if a request line has begun and is not complete.
    pub(crate) fn is_in_request_line(&self) -> bool {
        matches!(self.part, MessagePart::RequestLine) && self.is_in_head()
    }

    /// Returns the fault of the head that hyper reads next.
    pub(crate) fn fault_of_next(&self) -> Option<MessageFault> {
        self.fault.filter(|_| !self.broken && !self.has_heads())
    }

    /// Returns `true` if a body has begun and is not complete.
    pub(crate) fn is_in_body(&self) -> bool {
        !matches!(self.part, MessagePart::RequestLine | MessagePart::Field)
    }

    /// Returns `true` if all bytes so far belong to requests that hyper has handed over completely.
    pub(crate) fn is_between(&self) -> bool {
        self.is_whole() && !self.has_heads()
    }

    /// Returns `true` if every request that has begun is complete.
    pub(crate) fn is_whole(&self) -> bool {
        !self.is_in_head() && !self.is_in_body() && self.fault.is_none()
    }

    /// Returns `true` if there are heads that hyper has not handed over yet.
    pub(crate) fn has_heads(&self) -> bool {
        self.heads > 0
    }

    /// Percent-encodes the characters that a target must not contain. `from` is where the bytes
    /// read last begin.
    pub(crate) fn encode(&mut self, read: &mut ReadBuf<'_>, from: usize) {
        self.request_line.encode(read, from);
    }

    /// Moves bytes that did not fit before into the buffer. Returns `true` if there were any.
    pub(crate) fn give_rest(&mut self, into: &mut ReadBuf<'_>) -> bool {
        self.request_line.give_rest(into)
    }

    /// Returns `read`, followed by the bytes that did not fit before.
    pub(crate) fn and_rest(self, read: Bytes) -> Bytes {
        self.request_line.and_rest(read)
    }

    /// Records that hyper hands over the next head. Returns its original query if hyper was given a
    /// changed one.
    ///
    /// # Errors
    /// Fails with the fault of the head. If this module has not seen the head, hyper has read the
    /// bytes differently.
    pub(crate) fn next_head(&mut self) -> Result<Option<RawQuery>, MessageFault> {
        self.heads = self.heads.checked_sub(1).ok_or(self.fault.unwrap_or(MessageFault::LineEnd))?;
        let head = self.handed;
        self.handed += 1;
        let query = self.queries.pop_front_if(|(of, _)| *of == head);
        Ok(query.map(|(_, query)| query))
    }

    /// Stores the beginning of a line, and its last byte.
    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.line.len());
        let (kept, rest) = bytes.split_at(room.min(bytes.len()));
        self.line.extend_from_slice(kept);
        if let Some(last) = rest.last() {
            self.line.truncate(KEPT);
            self.line.push(*last);
        }
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), MessageFault> {
        let line = line.strip_suffix(b"\r").ok_or(MessageFault::LineEnd)?;
        self.part = match self.part {
            // RFC 9112, section 2.2: empty lines before a request are ignored.
            MessagePart::RequestLine if line.is_empty() => {
                self.request_line.end();
                MessagePart::RequestLine
            }
            MessagePart::RequestLine => {
                self.head = Head::default();
                let head = self.handed + u64::from(self.heads);
                self.queries.extend(self.request_line.end().map(|query| (head, query)));
                MessagePart::Field
            }
            MessagePart::Field if line.is_empty() => {
                self.heads += 1;
                match self.head {
                    Head { chunked: true, .. } => MessagePart::ChunkSize,
                    Head { length: Some(length @ 1..), .. } => MessagePart::Body(length),
                    _ => MessagePart::RequestLine,
                }
            }
            MessagePart::Field => {
                // The first byte rules out most fields.
                if matches!(line[0] | 0x20, b'c' | b't') {
                    self.head.read(line)?;
                }
                MessagePart::Field
            }
            MessagePart::ChunkSize => match chunk_size(line)? {
                0 => MessagePart::Trailer,
                size => MessagePart::Chunk(size),
            },
            MessagePart::ChunkEnd if line.is_empty() => MessagePart::ChunkSize,
            MessagePart::Trailer if line.is_empty() => MessagePart::RequestLine,
            MessagePart::Trailer => MessagePart::Trailer,
            MessagePart::ChunkEnd | MessagePart::Body(_) | MessagePart::Chunk(_) => {
                return Err(MessageFault::Chunk);
            }
        };
        Ok(())
    }
}

impl Head {
    /// Parses a field. Does not check what hyper refuses itself, such as a space before the colon.
    fn read(&mut self, line: &[u8]) -> Result<(), MessageFault> {
        let Some(colon) = memchr(b':', line) else { return Ok(()) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || line.len() >= PADDED {
                return Err(MessageFault::ContentLength);
            }
            // hyper uses the two largest values internally, and would refuse them without a reason.
            let length = decimal(value).filter(|length| i64::try_from(*length).is_ok());
            self.length = Some(length.ok_or(MessageFault::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") || line.len() >= PADDED {
                return Err(MessageFault::TransferEncoding);
            }
            self.chunked = true;
        }
        if self.chunked && self.length.is_some() { Err(MessageFault::BothLengths) } else { Ok(()) }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Parses the size of a chunk, in at most 16 digits. Extensions are ignored, but must be text of
/// bounded length (RFC 9112, section 7.1.1).
fn chunk_size(line: &[u8]) -> Result<u64, MessageFault> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    let is_text = !extensions.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    let begins = matches!(extensions.first(), None | Some(b' ' | b'\t' | b';'));
    if digits > 16 || line.len() >= KEPT || !begins || !is_text {
        return Err(MessageFault::Chunk);
    }
    let size = std::str::from_utf8(size).map_err(|_| MessageFault::Chunk)?;
    u64::from_str_radix(size, 16).map_err(|_| MessageFault::Chunk)
}
