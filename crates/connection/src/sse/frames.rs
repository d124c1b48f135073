//! Server-Sent Events as bytes (WHATWG HTML, section 9.2).

use std::iter;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use event::Event;
use history::EventId;
use memchr::memchr2;

use crate::chunk::{LAST_CHUNK, append_chunk, chunk};
use crate::farewell::Farewell;
use crate::transport::Transport;
use crate::wire_format::WireFormat;

/// A stream in HTTP/1.1 chunks (RFC 9112, section 7.1). The last chunk closes it.
pub(crate) static CHUNKED: WireFormat = WireFormat {
    transport: Transport::Sse,
    append: |text, event_type, json, id| {
        append_chunk(text, |text| write_event(text, event_type, json, id));
    },
    heartbeat: |id| match id {
        None => Bytes::from_static(b"D\r\n: heartbeat\n\n\r\n"),
        Some(id) => chunk(64, |text| write_heartbeat(text, id)),
    },
    farewell: |farewell, id| {
        let last = last_event(farewell);
        let last = CHUNKED.encode(last.event_type(), last.json(), id);
        [&last[..], LAST_CHUNK].concat().into()
    },
    going_away: |delay| {
        let last = chunk(32, |text| write_retry(text, delay));
        [&last[..], LAST_CHUNK].concat().into()
    },
};

/// A stream that is framed by others: over HTTP/2, or until the connection closes.
pub(crate) static PLAIN: WireFormat = WireFormat {
    transport: Transport::Sse,
    append: write_event,
    heartbeat: |id| {
        let Some(id) = id else { return Bytes::from_static(b": heartbeat\n\n") };
        let mut text = Vec::with_capacity(64);
        write_heartbeat(&mut text, id);
        text.into()
    },
    farewell: |farewell, id| {
        let last = last_event(farewell);
        PLAIN.encode(last.event_type(), last.json(), id)
    },
    going_away: |delay| {
        let mut text = Vec::new();
        write_retry(&mut text, delay);
        text.into()
    },
};

fn last_event(farewell: &Farewell) -> Event {
    Event::of_rig(farewell.event, None)
}

/// Writes one event of the stream (WHATWG HTML, section 9.2.5).
///
/// The JSON travels as it is: each of its lines becomes a `data` line. A line break inside the
/// event type would begin a field of its own and is replaced by a space. The id is the last line:
/// some clients take an id as soon as they see it, and would lose an event that is cut off behind
/// it.
fn write_event(text: &mut Vec<u8>, event_type: &str, json: &[u8], id: Option<&[u8]>) {
    text.put_slice(b"event: ");
    let start = text.len();
    text.put_slice(event_type.as_bytes());
    for byte in text[start..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        *byte = b' ';
    }
    text.put_u8(b'\n');
    for line in lines(json) {
        text.put_slice(b"data: ");
        text.put_slice(line);
        text.put_u8(b'\n');
    }
    write_id(text, id);
    text.put_u8(b'\n');
}

/// Writes a heartbeat whose block has an id and no data: clients take the id, and dispatch nothing.
fn write_heartbeat(text: &mut Vec<u8>, id: &[u8]) {
    text.put_slice(b": heartbeat\n");
    write_id(text, Some(id));
    text.put_u8(b'\n');
}

fn write_id(text: &mut Vec<u8>, id: Option<&[u8]>) {
    if let Some(id) = id {
        text.put_slice(if id.is_empty() { b"id:" } else { b"id: " });
        text.put_slice(id);
        text.put_u8(b'\n');
    }
}

/// Writes how long the client should wait before it reconnects (WHATWG HTML, section 9.2.6:
/// `retry`, in milliseconds).
fn write_retry(text: &mut Vec<u8>, delay: Duration) {
    text.put_slice(format!("retry: {}\n\n", delay.as_millis()).as_bytes());
}

/// Iterates over the lines of a JSON text, without their ends. A break at the end of the text
/// begins no further line.
fn lines(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(json);
    iter::from_fn(move || {
        let text = rest?;
        let Some(at) = memchr2(b'\r', b'\n', text) else {
            rest = None;
            return Some(text);
        };
        let end = if text[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        rest = Some(&text[end..]).filter(|rest| !rest.is_empty());
        Some(&text[..at])
    })
}

/// Returns the length of the chunk of an event with an id. No other transport makes more of it.
pub(crate) fn chunk_len(event_type: &str, json: &[u8]) -> usize {
    let data: usize = lines(json).map(|line| b"data: \n".len() + line.len()).sum();
    let id = b"id: \n".len() + EventId::LENGTH;
    let body = b"event: \n\n".len() + event_type.len() + data + id;
    let digits = body.ilog2() as usize / 4 + 1;
    digits + b"\r\n\r\n".len() + body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::websocket::frames;

    const ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    fn event(json: &'static str) -> Event {
        Event::from_json(Bytes::from_static(json.as_bytes())).expect("a valid event")
    }

    fn chunk_of(event_type: &str, json: &[u8]) -> Bytes {
        chunk(0, |text| write_event(text, event_type, json, Some(ID.as_bytes())))
    }

    fn encode(format: &WireFormat, event: &Event, id: Option<&[u8]>) -> String {
        String::from_utf8(format.encode(event.event_type(), event.json(), id).to_vec()).unwrap()
    }

    #[test]
    fn a_chunk_is_what_rig_writes() {
        let event = event(
            r#"{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "1", "data": {"name": "bob"}}"#,
        );
        assert_eq!(
            encode(&CHUNKED, &event, None),
            "76\r\nevent: greeting\ndata: {\"specversion\": \"0.2\", \"type\": \"greeting\", \"source\": \"/o\", \"id\": \"1\", \"data\": {\"name\": \"bob\"}}\n\n\r\n"
        );
    }

    #[test]
    fn every_line_of_the_json_is_a_data_line() {
        let event = event("{\"specversion\":\"0.2\",\n \"type\":\"t\",\r\n\r\"id\":\"1\"}");
        assert_eq!(
            encode(&PLAIN, &event, None),
            "event: t\ndata: {\"specversion\":\"0.2\",\ndata:  \"type\":\"t\",\ndata: \ndata: \"id\":\"1\"}\n\n"
        );
    }

    proptest! {
        #[test]
        fn the_length_is_known_before_the_encoding(event_type in "[a-z\r\n]{1,300}", json in "[a\r\n]{1,600}") {
            let chunk = chunk_of(&event_type, json.as_bytes());
            prop_assert_eq!(chunk_len(&event_type, json.as_bytes()), chunk.len());
            prop_assert!(frames::MESSAGES_WITH_IDS.encode("t", json.as_bytes(), Some(ID.as_bytes())).len() < chunk.len());
        }
    }

    #[test]
    fn a_line_break_in_the_type_begins_no_field() {
        let mut text = Vec::new();
        write_event(&mut text, "a\r\ndata: forged", b"{}", None);
        assert_eq!(text, b"event: a  data: forged\ndata: {}\n\n");
    }

    #[test]
    fn the_id_is_the_last_line_of_its_block() {
        let event = event(r#"{"specversion":"0.2","type":"t","id":"1"}"#);
        let block = |id: &str| {
            format!("event: t\ndata: {{\"specversion\":\"0.2\",\"type\":\"t\",\"id\":\"1\"}}\n{id}\n\n")
        };
        assert_eq!(encode(&PLAIN, &event, Some(ID.as_bytes())), block(&format!("id: {ID}")));
        assert_eq!(encode(&PLAIN, &event, Some(b"")), block("id:"));
        let heartbeat = format!(": heartbeat\nid: {ID}\n\n");
        assert_eq!((PLAIN.heartbeat)(Some(ID.as_bytes())), heartbeat);
        assert_eq!((CHUNKED.heartbeat)(Some(ID.as_bytes())), format!("28\r\n{heartbeat}\r\n"));
        assert_eq!((PLAIN.heartbeat)(None), ": heartbeat\n\n");
        assert_eq!((CHUNKED.heartbeat)(None), "D\r\n: heartbeat\n\n\r\n");
    }

    #[test]
    fn a_drained_stream_says_when_to_reconnect() {
        let delay = Duration::from_secs(1);
        assert_eq!(&(PLAIN.going_away)(delay)[..], b"retry: 1000\n\n");
        assert_eq!(&(CHUNKED.going_away)(delay)[..], b"D\r\nretry: 1000\n\n\r\n0\r\n\r\n");
    }
}
