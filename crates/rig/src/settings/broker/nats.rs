//! The settings of NATS as a broker.

use ::broker::nats::{NatsConfig, Reach, StreamConfig};

use crate::settings::kind::ValueKind;
use crate::settings::nats::{OF_BROKER, read_access};
use crate::settings::reader::Reader;

/// Reads where events come from; `None` if no server is named.
pub(super) fn read(reader: &mut Reader) -> Option<NatsConfig> {
    let access = read_access(reader, &OF_BROKER);
    let subjects = reader.filled("NATS_SOURCE_TOPICS", |text, kind| {
        let subjects: Vec<_> = text.split(',').map(|subject| subject.trim().to_owned()).collect();
        match subjects.iter().find(|subject| !is_subject(subject)) {
            Some(subject) => Err(format!("{subject:?} is no subject; expected {kind}")),
            None => Ok(subjects),
        }
    });
    let group = reader.filled("NATSTOFILTER_QUEUE_GROUP", |text, kind| match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {kind}")),
    });
    let every = reader.word("NATS_SOURCE_MODE", |word| match word {
        "group" => Some(false),
        "broadcast" => Some(true),
        _ => None,
    });
    let stream = read_stream(reader, every);
    let reply_timeout = reader.time("PROXY_NATS_RESPONSE_TIMEOUT");
    let access = access?;
    for server in access.exposed() {
        reader.warn(format!(
            "NATS_SERVERS: {server} is on another host and is used without TLS: whoever is between can read the credentials, and read and change events"
        ));
    }
    for (number, subject) in subjects.iter().enumerate() {
        if let Some(other) = subjects[..number].iter().find(|other| overlap(subject, other)) {
            let overlap = format!("{other} and {subject} overlap");
            match stream {
                // JetStream refuses such a consumer.
                Some(_) => {
                    reader.mistake("NATS_SOURCE_TOPICS", format!("{overlap}, which a stream does not allow"))
                }
                None => reader.warn(format!(
                    "NATS_SOURCE_TOPICS: {overlap}: what is published to both is delivered twice"
                )),
            }
        }
    }
    let reach = if every { Reach::Every } else { Reach::Group(group) };
    Some(NatsConfig { access, subjects, reach, stream, reply_timeout })
}

/// Reads the stream that events come from; `None` for core NATS.
fn read_stream(reader: &mut Reader, every: bool) -> Option<StreamConfig> {
    let name = |text: &str, kind: ValueKind| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {kind}")),
    };
    let stream = reader.optional("NATS_STREAM", name);
    let consumer = reader.optional("NATS_CONSUMER", name);
    let max_deliver: u32 = reader.number("NATS_MAX_DELIVER");
    for (one, other) in [("NATS_STREAM", "NATS_CONSUMER"), ("NATS_CONSUMER", "NATS_STREAM")] {
        if reader.is_set(one) && !reader.is_set(other) {
            reader.mistake(other, format!("missing, although {one} is set"));
        }
    }
    if reader.is_set("NATS_CONSUMER") && every {
        reader.mistake(
            "NATS_SOURCE_MODE",
            "broadcast is not possible with NATS_CONSUMER: of the gateways that share it, one receives a message",
        );
    }
    let max_deliver = Some(max_deliver).filter(|most| *most > 0);
    Some(StreamConfig { stream: stream?, consumer: consumer?, max_deliver })
}

/// Returns whether a message can match both subjects.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        return match (one.next(), other.next()) {
            (None, None) => true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => true,
            (Some(part), Some(with)) if part == with || part == "*" || with == "*" => continue,
            _ => false,
        };
    }
}

/// Returns whether a text can be subscribed to: parts between dots, of which the last may be `>`.
fn is_subject(text: &str) -> bool {
    let last = text.split('.').count() - 1;
    let part = |(number, part): (usize, &str)| match part {
        "*" => true,
        ">" => number == last,
        part => is_token(part) && !part.contains(['*', '>']),
    };
    text.split('.').enumerate().all(part)
}

/// Returns whether a text names a stream or a consumer: it is a part of subjects, and of file names
/// of the server.
fn is_name(text: &str) -> bool {
    is_token(text) && !text.contains(['.', '*', '>', '/', '\\'])
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char.is_control())
}

#[cfg(test)]
mod tests {
    use super::{is_name, is_subject, overlap};

    #[test]
    fn subjects_are_those_of_nats() {
        for subject in ["rig", "a.b.c", "a.*.c", "*", ">", "a.>", "$a.b-c_d"] {
            assert!(is_subject(subject), "{subject}");
        }
        for subject in ["", ".", "a..b", "a.", "a b", "a.>.b", "a>", "a*.b", "a\u{0}"] {
            assert!(!is_subject(subject), "{subject}");
        }
    }

    #[test]
    fn names_of_streams_are_parts_of_subjects() {
        assert!(is_name("ORDERS-1_a"));
        for name in ["", "a.b", "*", "a>", "a b", "a/b", "a\\b"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn overlapping_subjects_are_found() {
        for (one, other) in [("a", "a"), ("a.b", "a.*"), (">", "a.b"), ("a.>", "a.b.c"), ("*.b", "a.*")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a", "a.b"), ("a.>", "a"), ("*", "a.b"), ("a.*", "b.>")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }
}
