//! The blocks of a stream of Server-Sent Events (WHATWG HTML, section 9.2.6), in chunks of HTTP/1.1
//! or without: which events have come, and where the client stands.

use std::io::BufRead;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event;

/// What a client has seen so far, on all of its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The id of the last block that had one.
    id: Vec<u8>,
    /// The number of the event that must come next; `None`: any.
    next: Option<u32>,
    pub(crate) counts: Counts,
    /// Whether this connection has its subscriptions.
    pub(crate) is_subscribed: bool,
    /// How long the server asks to wait before the next connection.
    pub(crate) retry: Option<Duration>,
    /// What the first gap said.
    pub(crate) gap: Option<String>,
}

/// What is counted of a client, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    /// Numbers that were left out.
    pub(crate) lost: u64,
    /// Events that were not newer than one before.
    pub(crate) twice: u64,
    /// Blocks of type `rig.gap`.
    pub(crate) gaps: u64,
    /// Blocks of type `rig.resumed`.
    pub(crate) resumed: u64,
    /// Events that came before one of those on the same connection, as it says.
    pub(crate) replayed: u64,
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            lost: self.lost + other.lost,
            twice: self.twice + other.twice,
            gaps: self.gaps + other.gaps,
            resumed: self.resumed + other.resumed,
            replayed: self.replayed + other.replayed,
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What came since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            events: self.events - earlier.events,
            lost: self.lost - earlier.lost,
            twice: self.twice - earlier.twice,
            gaps: self.gaps - earlier.gaps,
            resumed: self.resumed - earlier.resumed,
            replayed: self.replayed - earlier.replayed,
        }
    }
}

impl Seen {
    /// The event of this number must come next.
    pub(crate) fn expecting(next: u32) -> Self {
        Self { next: Some(next), ..Self::default() }
    }

    /// The cursor of the client; `None` if no block had an id.
    pub(crate) fn cursor(&self) -> Option<&str> {
        std::str::from_utf8(&self.id).ok().filter(|id| !id.is_empty())
    }

    fn take_event(&mut self, number: u32) {
        let counts = &mut self.counts;
        counts.events += 1;
        match self.next {
            Some(next) if number < next => {
                counts.twice += 1;
                return;
            }
            Some(next) => counts.lost += u64::from(number - next),
            None => {}
        }
        self.next = Some(number + 1);
    }
}

/// Where in the stream a client is.
#[derive(Debug)]
pub(super) struct BlockReader {
    framing: Framing,
    /// The line so far.
    line: Vec<u8>,
    name: Name,
    /// The number of the event in this block.
    number: Option<u32>,
    /// The id of this block.
    id: Option<Vec<u8>>,
}

/// Where in the chunks (RFC 9112, section 7.1) a client is.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    /// In the line with the size, which is this so far.
    Size(usize),
    /// In a chunk, of which this is missing, with the line break behind it.
    Chunk(usize),
}

/// The type of a block, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Other,
    Subscribed,
    Resumed,
    Gap,
}

impl BlockReader {
    pub(super) fn new(is_chunked: bool) -> Self {
        let framing = if is_chunked { Framing::Size(0) } else { Framing::None };
        Self { framing, line: Vec::new(), name: Name::Other, number: None, id: None }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8], seen: &mut Seen) {
        while let [first, rest @ ..] = bytes {
            match self.framing {
                Framing::None => {
                    self.take_text(bytes, seen);
                    return;
                }
                Framing::Size(size) => {
                    self.framing = match char::from(*first).to_digit(16) {
                        Some(digit) => Framing::Size(size << 4 | digit as usize),
                        None if *first == b'\n' => Framing::Chunk(size + 2),
                        None => Framing::Size(size),
                    };
                    bytes = rest;
                }
                Framing::Chunk(missing) => {
                    let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                    let text = missing.saturating_sub(2).min(taken.len());
                    self.take_text(&taken[..text], seen);
                    let missing = missing - taken.len();
                    self.framing = if missing == 0 { Framing::Size(0) } else { Framing::Chunk(missing) };
                    bytes = rest;
                }
            }
        }
    }

    fn take_text(&mut self, mut text: &[u8], seen: &mut Seen) {
        // Reading from memory cannot fail.
        while !text.is_empty() && text.read_until(b'\n', &mut self.line).is_ok() {
            if self.line.last() != Some(&b'\n') {
                return;
            }
            let line = std::mem::take(&mut self.line);
            self.take_line(line.trim_ascii_end(), seen);
            self.line = line;
            self.line.clear();
        }
    }

    fn take_line(&mut self, line: &[u8], seen: &mut Seen) {
        if line.is_empty() {
            self.end_of_block(seen);
            return;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (field, value) = (&line[..colon], line[colon + 1..].trim_ascii_start());
        match field {
            b"event" => {
                self.name = match value {
                    b"rig.subscriptions_set" => Name::Subscribed,
                    b"rig.resumed" => Name::Resumed,
                    b"rig.gap" => Name::Gap,
                    _ => Name::Other,
                }
            }
            b"data" if self.name == Name::Resumed => seen.counts.replayed += replayed(value).unwrap_or(0),
            b"data" if self.name == Name::Gap => {
                seen.gap.get_or_insert_with(|| String::from_utf8_lossy(value).into_owned());
            }
            b"data" if self.name == Name::Other => self.number = event::number(value),
            b"id" => self.id = Some(value.to_owned()),
            b"retry" => {
                let millis = std::str::from_utf8(value).ok().and_then(|millis| millis.parse().ok());
                seen.retry = millis.map(Duration::from_millis);
            }
            _ => {}
        }
    }

    fn end_of_block(&mut self, seen: &mut Seen) {
        match std::mem::take(&mut self.name) {
            Name::Other => {}
            Name::Subscribed => seen.is_subscribed = true,
            Name::Resumed => seen.counts.resumed += 1,
            Name::Gap => seen.counts.gaps += 1,
        }
        if let Some(number) = self.number.take() {
            seen.take_event(number);
        }
        if let Some(id) = self.id.take() {
            seen.id = id;
        }
    }
}

/// What the data of `rig.resumed` says.
fn replayed(json: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(json).ok()?.split_once(r#""events":"#)?;
    let digits = rest.trim_start().split(|digit: char| !digit.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = ": hi\n\nevent: rig.subscriptions_set\ndata: {}\n\n";

    fn block(number: u32) -> String {
        let json = String::from_utf8(event::numbered(number).to_vec()).unwrap();
        format!("event: greeting\ndata: {json}\nid: p{number}\n\n")
    }

    fn seen(stream: &[u8], is_chunked: bool, piece: usize) -> Seen {
        let (mut reader, mut seen) = (BlockReader::new(is_chunked), Seen::expecting(0));
        stream.chunks(piece).for_each(|bytes| reader.take(bytes, &mut seen));
        seen
    }

    #[test]
    fn events_in_order_are_counted_in_pieces_of_any_size() {
        let resumed = "event: rig.resumed\ndata: {\"data\":{\"events\":2}}\nid: p9\n\n";
        let blocks = [GREETING, &block(0), &block(1), resumed, "retry: 1500\n\n"];
        let plain = blocks.concat();
        let chunks: String = blocks.map(|block| format!("{:X}\r\n{block}\r\n", block.len())).concat();
        let chunks = chunks + "0\r\n\r\n";
        for (stream, is_chunked) in [(plain, false), (chunks, true)] {
            for piece in [1, 7, 100_000] {
                let seen = seen(stream.as_bytes(), is_chunked, piece);
                assert_eq!(seen.counts, Counts { events: 2, resumed: 1, replayed: 2, ..Counts::default() });
                assert!(seen.is_subscribed);
                assert_eq!((seen.cursor(), seen.retry), (Some("p9"), Some(Duration::from_millis(1500))));
            }
        }
    }

    #[test]
    fn what_is_lost_twice_or_a_gap_is_counted() {
        let gap = "event: rig.gap\ndata: {}\nid: p7\n\n";
        let stream = [block(0), block(3), block(3), block(1), gap.to_owned(), block(4)].concat();
        let seen = seen(stream.as_bytes(), false, 50);
        assert_eq!(seen.gap.as_deref(), Some("{}"));
        assert_eq!(seen.counts, Counts { events: 5, lost: 2, twice: 2, gaps: 1, ..Counts::default() });
    }

    #[test]
    fn a_block_that_is_cut_moves_no_cursor() {
        let stream = [block(0), block(1)].concat();
        let cut = seen(&stream.as_bytes()[..stream.len() - 1], false, 50);
        assert_eq!((cut.cursor(), cut.counts.events), (Some("p0"), 1));
        assert_eq!(seen(b": heartbeat\nid: p5\n\n", false, 5).cursor(), Some("p5"));
        assert_eq!(seen(b"id: p5\n\nid:\n\n", false, 5).cursor(), None);
    }
}
