//! A parser of event streams to the letter of the WHATWG standard (HTML, section 9.2.6).

/// An event that a page would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// Its type; `message` if the stream names none.
    pub event: String,
    /// Its data.
    pub data: String,
    /// The last event id at its dispatch.
    pub id: String,
}

/// The state of a stream between two reads.
#[derive(Debug, Default)]
pub struct EventStream {
    /// What was received of the current line.
    line: Vec<u8>,
    /// Whether the last byte was a CR, whose LF may follow.
    after_cr: bool,
    /// Whether a line of this stream was read: a byte order mark may open the first one.
    is_begun: bool,
    data: String,
    event: String,
    id_buffer: String,
    last_event_id: String,
    retry: Option<u64>,
    dispatched: Vec<Dispatched>,
}

impl EventStream {
    /// Returns the id with which a client comes back; empty for none.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the last reconnection time that the stream has set, in milliseconds.
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Begins the next stream of the same client: what is left of the last one, an incomplete
    /// block, is discarded.
    pub fn reconnect(&mut self) {
        let last_event_id = std::mem::take(&mut self.last_event_id);
        let dispatched = std::mem::take(&mut self.dispatched);
        // The id buffer begins empty as well: only a block of this stream sets it.
        *self = Self { last_event_id, dispatched, retry: self.retry, ..Self::default() };
    }

    /// Returns whether there are events to take.
    pub fn has_dispatched(&self) -> bool {
        !self.dispatched.is_empty()
    }

    /// Takes the events that were dispatched so far.
    pub fn take(&mut self) -> Vec<Dispatched> {
        std::mem::take(&mut self.dispatched)
    }

    /// Reads bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.line_read(&line);
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                }
            }
        }
    }

    fn line_read(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let first = !std::mem::replace(&mut self.is_begun, true);
        let text = if first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data += value;
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id_buffer),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            // A comment has an empty name.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        // Not reset: it is the id of all blocks until the next one that has an id.
        self.id_buffer.clone_into(&mut self.last_event_id);
        let (mut data, mut event) = (std::mem::take(&mut self.data), std::mem::take(&mut self.event));
        if data.is_empty() {
            return;
        }
        data.pop();
        if event.is_empty() {
            event = "message".into();
        }
        self.dispatched.push(Dispatched { event, data, id: self.last_event_id.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str) -> (Vec<(String, String, String)>, EventStream) {
        let mut parser = EventStream::default();
        for byte in stream.bytes() {
            parser.feed(&[byte]);
        }
        let events = parser.take().into_iter().map(|event| (event.event, event.data, event.id));
        (events.collect(), parser)
    }

    fn event(event: &str, data: &str, id: &str) -> (String, String, String) {
        (event.into(), data.into(), id.into())
    }

    /// The examples of the standard.
    #[test]
    fn the_examples_of_the_standard() {
        let (events, _) = read("data: YHOO\ndata: +2\ndata: 10\n\n");
        assert_eq!(events, [event("message", "YHOO\n+2\n10", "")]);

        let stream =
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        let (events, parser) = read(stream);
        let expected = [
            event("message", "first event", "1"),
            event("message", "second event", ""),
            event("message", " third event", ""),
        ];
        assert_eq!((events.as_slice(), parser.last_event_id()), (expected.as_slice(), ""));

        let (events, _) = read("data\n\ndata\ndata\n\ndata:");
        assert_eq!(events, [event("message", "", ""), event("message", "\n", "")]);
    }

    #[test]
    fn ids_come_with_blocks_and_outlive_the_stream() {
        let (events, mut parser) = read("\u{feff}id: 1\r\n\r\nevent: a\rdata: x\r\rid: 2\ndata: lost");
        assert_eq!((events.as_slice(), parser.last_event_id()), (&[event("a", "x", "1")][..], "1"));
        parser.reconnect();
        parser.feed(b"retry: 12\n");
        assert_eq!((parser.last_event_id(), parser.retry()), ("1", Some(12)));
        parser.feed(b"id: n\0l\n\n");
        assert_eq!(parser.last_event_id(), "", "a stream without ids has the empty one");
        assert!(parser.take().is_empty());
    }
}
