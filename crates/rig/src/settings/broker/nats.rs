//! The settings of NATS as a broker.

use ::broker::nats::{NatsConfig, Reach};

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
    let access = access?;
    for server in access.exposed() {
        reader.warn(format!(
            "NATS_SERVERS: {server} is on another host and is used without TLS: whoever is between can read the credentials, and read and change events"
        ));
    }
    for (number, subject) in subjects.iter().enumerate() {
        if let Some(other) = subjects[..number].iter().find(|other| overlap(subject, other)) {
            reader.warn(format!(
                "NATS_SOURCE_TOPICS: {other} and {subject} overlap: what is published to both is delivered twice"
            ));
        }
    }
    Some(NatsConfig { access, subjects, reach: if every { Reach::Every } else { Reach::Group(group) } })
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

fn is_token(text: &str) -> bool {
    !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char.is_control())
}

#[cfg(test)]
mod tests {
    use super::{is_subject, overlap};

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
    fn overlapping_subjects_are_found() {
        for (one, other) in [("a", "a"), ("a.b", "a.*"), (">", "a.b"), ("a.>", "a.b.c"), ("*.b", "a.*")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a", "a.b"), ("a.>", "a"), ("*", "a.b"), ("a.*", "b.>")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }
}
