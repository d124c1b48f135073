//! The event that is published, and how its copies are counted.

use bytes::Bytes;

/// Stands once in every event and nowhere else in what a server sends: not in base64url, UUIDs,
/// chunk sizes, dates, nor in the length of a WebSocket frame that is [`SIZE`] long.
const MARK: u8 = b'^';

/// Bytes of every event.
pub(crate) const SIZE: usize = 256;

/// The type that all subscribe to.
pub(crate) const TYPE: &str = "greeting";

/// The event of that number: CloudEvents 1.0, [`SIZE`] bytes.
pub(crate) fn numbered(number: u32) -> Bytes {
    sized(number, SIZE)
}

/// The same with `size` bytes.
pub(crate) fn sized(number: u32, size: usize) -> Bytes {
    composed(TYPE, number, size)
}

/// The event of that number and of another type, of [`SIZE`] bytes.
pub(crate) fn of_type(event_type: &str, number: u32) -> Bytes {
    composed(event_type, number, SIZE)
}

fn composed(event_type: &str, number: u32, size: usize) -> Bytes {
    let head = format!(
        r#"{{"specversion":"1.0","type":"{event_type}","source":"/bench","id":"{number:010}","data":{{"mark":"{}","text":""#,
        char::from(MARK)
    );
    let tail = r#""}}"#;
    let text = "x".repeat(size - head.len() - tail.len());
    format!("{head}{text}{tail}").into()
}

/// The number of the event in this JSON; `None` if it is none of these.
pub(crate) fn number(json: &[u8]) -> Option<u32> {
    const BEFORE: &[u8] = br#""source":"/bench","id":""#;
    let at = json.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    std::str::from_utf8(json.get(at..at + 10)?).ok()?.parse().ok()
}

/// How many events these bytes hold (the mark of; the rest may be in the next bytes).
pub(crate) fn count(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == MARK)).sum()
}

/// Whether `bytes` hold `part`.
pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_events_have_the_same_size_and_one_mark() {
        for number in [0, 7, u32::MAX] {
            let event = numbered(number);
            assert_eq!((event.len(), count(&event)), (SIZE, 1));
            let value: serde_json::Value = serde_json::from_slice(&event).unwrap();
            assert_eq!(value["id"], format!("{number:010}"));
        }
    }

    #[test]
    fn numbers_are_read_back() {
        assert_eq!(number(&numbered(4_000_000_007)), Some(4_000_000_007));
        assert_eq!(number(&of_type("other", 7)), Some(7));
        assert_eq!(of_type("other", 7).len(), SIZE);
        assert_eq!(number(br#"{"specversion":"1.0","source":"rig","id":"0000000001"}"#), None);
    }

    #[test]
    fn the_length_of_a_frame_is_not_a_mark() {
        assert_eq!(count(&[0x81, 126]) + count(&(SIZE as u16).to_be_bytes()), 0);
    }

    #[test]
    fn parts_are_found_anywhere() {
        assert!(contains(b"abc", b"") && contains(b"abc", b"bc") && contains(b"abc", b"abc"));
        assert!(!contains(b"abc", b"cb") && !contains(b"a", b"ab"));
    }
}
