//! Messages of the stream: what their headers say.

use async_nats::{HeaderMap, Message};
use jiff::Timestamp;

use crate::wire::StreamMessage;

pub(super) const SUBJECT: &str = "Nats-Subject";
pub(super) const SEQUENCE: &str = "Nats-Sequence";
pub(super) const TIME: &str = "Nats-Time-Stamp";
pub(super) const PENDING: &str = "Nats-Num-Pending";
pub(super) const LAST: &str = "Nats-Last-Sequence";

/// The answer describes the end of a batch.
pub(super) const END_OF_BATCH: u16 = 204;
/// There is no such message.
pub(super) const NOT_FOUND: u16 = 404;

/// Returns a message of the stream that comes with the headers of a direct get or of the live path.
/// `None` if it has none.
pub(super) fn stored(message: Message) -> Option<StreamMessage> {
    let headers = message.headers.as_ref()?;
    let time: Timestamp = text(headers, TIME)?.parse().ok()?;
    Some(StreamMessage {
        subject: text(headers, SUBJECT)?.to_owned(),
        sequence: number(headers, SEQUENCE)?,
        stored_at: u64::try_from(time.as_millisecond()).ok()?,
        payload: message.payload,
    })
}

/// Returns the value of a header. The server adds its own behind those of the publisher, which may
/// have sent one of the same name.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_last(name).map(|value| value.as_str())
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

pub(super) fn status(message: &Message) -> Option<u16> {
    message.status.map(|status| status.as_u16())
}

/// What the answer subject of a message from a consumer says:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<count>.<time>.<pending>`, or with the
/// domain and the account before the stream, and a random part behind.
pub(super) struct Delivery {
    /// The sequence in the stream.
    pub(super) sequence: u64,
    /// The number of this delivery, from 1.
    pub(super) count: u64,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// The number of messages behind it.
    pub(super) pending: u64,
}

impl Delivery {
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let mut tokens: Vec<_> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        match tokens.len() {
            7 => {}
            9.. => drop(tokens.drain(..2)),
            _ => return None,
        }
        let number = |index: usize| tokens.get(index)?.parse().ok();
        Some(Self { sequence: number(3)?, count: number(4)?, time: number(5)?, pending: number(6)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_answer_subjects_are_read() {
        for reply in [
            "$JS.ACK.RIG_C.c1.1.17.5.1700000000000000123.9",
            "$JS.ACK.d.hash.RIG_C.c1.1.17.5.1700000000000000123.9.x7",
        ] {
            let delivery = Delivery::parse(reply).expect("a delivery");
            let read = (delivery.sequence, delivery.count, delivery.time, delivery.pending);
            assert_eq!(read, (17, 5, 1_700_000_000_000_000_123, 9));
        }
        assert!(Delivery::parse("$JS.ACK.RIG_C.c1.1").is_none());
        assert!(Delivery::parse("_INBOX.x").is_none());
    }
}
