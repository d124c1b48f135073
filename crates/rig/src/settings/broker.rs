//! The settings of message brokers.

#[cfg(feature = "nats")]
use broker::nats::{NatsConfig, Reach};
use event::ExtensionNames;

#[cfg(feature = "nats")]
use super::nats;
use super::reader::Reader;

/// The brokers that events come from.
pub(crate) struct BrokerSettings {
    /// Which names extensions of events may have.
    pub(crate) names: ExtensionNames,
    /// NATS; `None` if it is not used.
    #[cfg(feature = "nats")]
    pub(crate) nats: Option<NatsConfig>,
}

#[cfg(feature = "nats")]
pub(super) fn read_brokers(reader: &mut Reader, names: ExtensionNames) -> BrokerSettings {
    BrokerSettings { names, nats: read_nats(reader) }
}

#[cfg(not(feature = "nats"))]
pub(super) fn read_brokers(reader: &mut Reader, names: ExtensionNames) -> BrokerSettings {
    if reader.is_set("NATS_SERVERS") {
        reader.mistake("NATS_SERVERS", "NATS as a broker is not built in: build with --features nats");
    }
    BrokerSettings { names }
}

#[cfg(feature = "nats")]
fn read_nats(reader: &mut Reader) -> Option<NatsConfig> {
    let access = nats::read_access(reader, &nats::OF_BROKER);
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
#[cfg(feature = "nats")]
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
#[cfg(feature = "nats")]
fn is_subject(text: &str) -> bool {
    let last = text.split('.').count() - 1;
    let part = |(number, part): (usize, &str)| match part {
        "*" => true,
        ">" => number == last,
        part => is_token(part) && !part.contains(['*', '>']),
    };
    text.split('.').enumerate().all(part)
}

#[cfg(feature = "nats")]
fn is_token(text: &str) -> bool {
    !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char.is_control())
}

#[cfg(all(test, feature = "nats"))]
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
