//! A client, which reads as much as the case demands. Its stream is checked byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use connection::{Batch, Connection, Encoding, PollError};
use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

use crate::plan::Transport;

/// The answers to its polls, in order.
pub(crate) type Answers = Arc<Mutex<Vec<Result<Batch, PollError>>>>;

pub(crate) struct Client {
    pub(crate) transport: Transport,
    pub(crate) connection: Weak<Connection>,
    /// `None` for long polling, and after the connection was closed.
    pub(crate) wire: Option<TcpStream>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answers: Answers,
    pub(crate) polls: usize,
    /// The client has closed by itself: it is unknown what became of unread bytes.
    pub(crate) left: bool,
    /// Whether the connection was seen closing or closed, for any reason.
    pub(crate) closed: bool,
    /// From this position on (in bytes, or answers) no payload is allowed.
    pub(crate) silent_from: Option<usize>,
    /// Between these positions (in bytes, or answers) no payload is allowed: the fence was closed.
    pub(crate) held: Vec<Range<usize>>,
    /// Where the fence was closed, if it is.
    pub(crate) held_from: Option<usize>,
}

/// A piece of the stream.
pub(crate) struct Seen {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An event that the test has published.
    Event(u32),
    /// An event of the gateway.
    OfRig,
    /// Heads, heartbeats, farewells.
    NoPayload,
}

/// Returns both ends of a socket with the smallest buffers that the kernel allows. They are Unix
/// sockets: what was sent has arrived when the call returns, so that the same case yields the same
/// bytes. TCP gives no such guarantee.
pub(crate) fn narrow_pair() -> (TcpStream, TcpStream) {
    let (near, far) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("a pair of sockets");
    near.set_send_buffer_size(1).expect("the smallest buffer");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("a socket option");
    }
    (TcpStream::from(OwnedFd::from(near)), TcpStream::from(OwnedFd::from(far)))
}

impl Client {
    /// Reads up to `most` bytes. Returns whether there was anything: bytes, or the end of the
    /// stream.
    pub(crate) fn read(&mut self, most: usize) -> bool {
        let Some(wire) = &mut self.wire else { return false };
        let mut buffer = vec![0; most];
        match wire.read(&mut buffer) {
            Ok(0) => self.wire = None,
            Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => self.wire = None,
        }
        true
    }

    /// Sends a masked close frame without a code (RFC 6455, section 5.5.1).
    pub(crate) fn say_close(&mut self) {
        if let Some(wire) = &mut self.wire {
            // Fails if the gateway has closed already.
            let _ = wire.write_all(&[0x88, 0x80, 0, 0, 0, 0]);
        }
    }

    /// Returns how many bytes were written to it so far, read or not; for long polling, how many
    /// answers.
    pub(crate) fn written(&self) -> usize {
        match (self.transport, &self.wire) {
            (Transport::LongPolling, _) => self.answers.lock().len(),
            (_, None) => self.bytes.len(),
            (_, Some(wire)) => {
                let mut waiting = vec![0; 1 << 16];
                self.bytes.len() + wire.peek(&mut waiting).unwrap_or(0)
            }
        }
    }

    /// Returns the numbers of the published events that it has received, in order.
    pub(crate) fn events(&self) -> Vec<u32> {
        let events = |what| if let What::Event(number) = what { Some(number) } else { None };
        match self.transport {
            Transport::LongPolling => self.batches().iter().flatten().copied().filter_map(events).collect(),
            _ => self.parse().0.iter().filter_map(|seen| events(seen.what)).collect(),
        }
    }

    /// Returns payload that was sent although it was not allowed any more.
    pub(crate) fn late(&self) -> Option<String> {
        let from = self.silent_from?;
        if let Transport::LongPolling = self.transport {
            let late = self
                .batches()
                .into_iter()
                .skip(from)
                .find(|batch| batch.iter().any(|what| *what != What::NoPayload) || batch.len() > 1);
            return late.map(|batch| format!("an answer with {batch:?}"));
        }
        let (seen, rest) = self.parse();
        let late = seen.iter().find(|seen| seen.end > from && seen.what != What::NoPayload);
        let late = late.map(|late| format!("{:?} up to byte {}, silent from {from}", late.what, late.end));
        // Nor may a frame have been continued that was begun before.
        let begun = &self.bytes[rest..];
        let goes_on = self.bytes.len() > from && what_begins(self.transport, begun) != What::NoPayload;
        late.or_else(|| goes_on.then(|| format!("a part of a frame from {rest} on, silent from {from}")))
    }

    /// Returns payload that was sent while the fence was closed.
    pub(crate) fn unfenced(&self) -> Option<String> {
        self.held.iter().filter(|held| !held.is_empty()).find_map(|held| self.payload_within(held))
    }

    fn payload_within(&self, held: &Range<usize>) -> Option<String> {
        if let Transport::LongPolling = self.transport {
            let batches = self.batches();
            let mut within = batches[held.clone()].iter();
            let late = within.find(|batch| batch.iter().any(|what| *what != What::NoPayload));
            return late.map(|batch| format!("an answer with {batch:?} at the closed fence"));
        }
        let (mut seen, rest) = self.parse();
        let what = what_begins(self.transport, &self.bytes[rest..]);
        seen.push(Seen { start: rest, end: self.bytes.len(), what });
        let mut within = seen.iter().filter(|seen| seen.start < held.end && seen.end > held.start);
        let late = within.find(|seen| seen.what != What::NoPayload);
        late.map(|late| format!("{:?} in {}..{}, held in {held:?}", late.what, late.start, late.end))
    }

    fn batches(&self) -> Vec<Vec<What>> {
        let events = |answer: &Result<Batch, PollError>| {
            let Ok(batch) = answer else { return Vec::new() };
            let body: serde_json::Value = serde_json::from_slice(&batch.body).expect("a batch is JSON");
            let events = body["events"].as_array().expect("a batch has events");
            events.iter().map(|event| what_is(event.to_string().as_bytes())).collect()
        };
        self.answers.lock().iter().map(events).collect()
    }

    /// Returns the complete pieces of the stream, and the position of the first incomplete one.
    fn parse(&self) -> (Vec<Seen>, usize) {
        let (mut seen, mut at) = (Vec::new(), 0);
        let head = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(head) = head else { return (seen, 0) };
        at += head + 4;
        seen.push(Seen { start: 0, end: at, what: What::NoPayload });
        while let Some(length) = piece(self.transport, &self.bytes[at..]) {
            let what = what_begins(self.transport, &self.bytes[at..at + length]);
            seen.push(Seen { start: at, end: at + length, what });
            at += length;
        }
        (seen, at)
    }
}

/// Returns the length of the chunk or frame that begins here; `None` if it is incomplete.
fn piece(transport: Transport, bytes: &[u8]) -> Option<usize> {
    let length = match transport {
        Transport::Stream(Encoding::WebSocket) => match bytes {
            [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [_, length @ 0..=125, ..] => 2 + usize::from(*length),
            _ => return None,
        },
        _ => {
            let line = bytes.windows(2).position(|two| two == b"\r\n")?;
            let size = std::str::from_utf8(&bytes[..line]).expect("a chunk size is ASCII");
            line + 2 + usize::from_str_radix(size, 16).expect("a chunk size") + 2
        }
    };
    (bytes.len() >= length).then_some(length)
}

/// Returns the kind of a chunk or frame, as far as its beginning reveals it.
fn what_begins(transport: Transport, bytes: &[u8]) -> What {
    match transport {
        // Control frames, and text frames.
        Transport::Stream(Encoding::WebSocket) if bytes.first().is_none_or(|first| first & 0x8 != 0) => {
            What::NoPayload
        }
        Transport::Stream(Encoding::WebSocket) => what_is(bytes),
        _ if bytes.windows(7).any(|seven| seven == b"event: ") => what_is(bytes),
        _ => What::NoPayload,
    }
}

fn what_is(event: &[u8]) -> What {
    let text = String::from_utf8_lossy(event);
    if text.contains("rig.session_killed") || text.contains("rig.session_expired") {
        return What::NoPayload;
    }
    let number = text.split_once(r#""id":"e"#).and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
    number.map_or(What::OfRig, What::Event)
}
