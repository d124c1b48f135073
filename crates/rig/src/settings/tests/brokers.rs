//! Settings of message brokers.

use std::time::Duration;

use ::broker::nats::{Reach, StreamConfig};

use super::*;

const NATS: (&str, &str) = ("NATS_SERVERS", "127.0.0.1, localhost:4223");

/// Returns the mistakes; empty if there is none.
fn mistakes(variables: &[(&str, &str)]) -> String {
    parse(&[], variables).err().unwrap_or_default()
}

#[test]
fn events_come_from_nats_if_it_is_named() {
    assert!(parse(&[], &[("NATS_SOURCE_TOPICS", "a")]).unwrap().brokers.nats.is_none());
    let settings = parse(&[], &[NATS]).unwrap();
    assert_eq!(settings.warnings, [""; 0]);
    let nats = settings.brokers.nats.unwrap();
    assert_eq!(nats.access.servers, ["127.0.0.1", "localhost:4223"]);
    assert_eq!(nats.subjects, ["rig"]);
    assert_eq!(nats.reach, Reach::Group("rig-nats-to-filter".to_owned()));

    let more =
        [NATS, ("NATS_SOURCE_TOPICS", "a.*, b"), ("NATSTOFILTER_QUEUE_GROUP", "g"), ("NATS_USER", "u")];
    let nats = parse(&[], &[&more[..], &[("NATS_PASSWORD", "p")]].concat()).unwrap().brokers.nats.unwrap();
    assert_eq!((nats.subjects.len(), nats.reach), (2, Reach::Group("g".to_owned())));
    let every = parse(&[], &[NATS, ("NATS_SOURCE_MODE", "broadcast")]).unwrap().brokers.nats.unwrap();
    assert_eq!(every.reach, Reach::Every);
}

#[test]
fn a_stream_needs_a_consumer_that_its_gateways_share() {
    let plain = parse(&[], &[NATS]).unwrap().brokers.nats.unwrap();
    assert_eq!((plain.stream, plain.reply_timeout), (None, Duration::from_secs(60)));
    let stream = [NATS, ("NATS_STREAM", "S"), ("NATS_CONSUMER", "C")];
    let more = [("NATS_MAX_DELIVER", "5"), ("PROXY_NATS_RESPONSE_TIMEOUT", "1500")];
    let nats = parse(&[], &[&stream[..], &more].concat()).unwrap().brokers.nats.unwrap();
    let expected = StreamConfig { stream: "S".to_owned(), consumer: "C".to_owned(), max_deliver: Some(5) };
    assert_eq!((nats.stream, nats.reply_timeout), (Some(expected), Duration::from_millis(1500)));
    let endless = parse(&[], &stream).unwrap().brokers.nats.unwrap().stream.unwrap();
    assert_eq!(endless.max_deliver, None);

    for (variables, reason) in [
        (&[("NATS_STREAM", "S")][..], "missing, although NATS_STREAM is set"),
        (&[("NATS_CONSUMER", "C")], "missing, although NATS_CONSUMER is set"),
        (&[("NATS_STREAM", "a.b"), ("NATS_CONSUMER", "C")], "the name of a stream"),
        (&[("NATS_STREAM", "S"), ("NATS_CONSUMER", "a b")], "the name of a consumer"),
        (&[stream[1], stream[2], ("NATS_SOURCE_MODE", "broadcast")], "broadcast is not possible"),
        (&[stream[1], stream[2], ("NATS_SOURCE_TOPICS", "a.b,a.*")], "a.b and a.* overlap"),
    ] {
        let told = mistakes(&[&[NATS], variables].concat());
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn b31_what_is_empty_counts_as_not_set_and_ports_have_a_default() {
    let empty = [("NATS_SOURCE_TOPICS", ""), ("NATSTOFILTER_QUEUE_GROUP", "")];
    assert!(parse(&[], &[&[("NATS_SERVERS", "")], &empty[..]].concat()).unwrap().brokers.nats.is_none());
    let nats = parse(&[], &[&[NATS], &empty[..]].concat()).unwrap().brokers.nats.unwrap();
    assert_eq!(nats.subjects, ["rig"]);
    assert_eq!(nats.reach, Reach::Group("rig-nats-to-filter".to_owned()));
    for server in ["[::1]", "[::1]:4222", "localhost"] {
        assert_eq!(mistakes(&[("NATS_SERVERS", server)]), "", "{server}");
    }
}

#[test]
fn mistakes_of_nats_name_their_setting() {
    for (name, value, reason) in [
        ("NATS_SERVERS", "a,,b", "an item of the list of servers is empty"),
        ("NATS_SERVERS", "http://a", "not the address of a NATS server"),
        ("NATS_SERVERS", "nats://me:hidden@a", "(NATS_USER)"),
        ("NATS_SOURCE_TOPICS", "a, b c", "\"b c\" is no subject"),
        ("NATSTOFILTER_QUEUE_GROUP", "a b", "expected a name"),
        ("NATS_SOURCE_MODE", "each", "group"),
        ("NATS_USER", "u", "NATS_PASSWORD: missing, although NATS_USER is set"),
        ("NATS_KEY", "/nowhere", "NATS_KEY"),
    ] {
        let told = mistakes(&[NATS, (name, value)]);
        assert!(told.contains(reason) && !told.contains("hidden"), "{name}: {told}");
    }
    let two = mistakes(&[NATS, ("NATS_TOKEN", "t"), ("NATS_USER", "u"), ("NATS_PASSWORD", "p")]);
    assert!(two.contains("only one way to authenticate may be set"), "{two}");
}

#[test]
fn what_is_dangerous_at_nats_is_a_warning() {
    let warnings = |variables: &[(&str, &str)]| parse(&[], variables).unwrap().warnings;
    let told = warnings(&[("NATS_SERVERS", "nats.example:4222,tls://other.example")]);
    assert!(matches!(&told[..], [one] if one.contains("nats.example:4222 is on another host")), "{told:?}");
    let told = warnings(&[NATS, ("NATS_SOURCE_TOPICS", "a.b,c,a.>,c")]);
    assert!(
        matches!(&told[..], [one, other]
            if one.contains("a.b and a.> overlap") && other.contains("c and c overlap")),
        "{told:?}"
    );
}
