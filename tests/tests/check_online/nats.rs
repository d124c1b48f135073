//! NATS, as a broker and of a cluster.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use rig_tests::*;
use serde_json::{Value, json};

use crate::told::{PASSWORD, check, nats};

/// Asks JetStream something, and waits for the answer.
fn jetstream(server: &NatsServer, subject: &str, request: &Value) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
    let (payload, subject) = (request.to_string(), format!("$JS.API.{subject}"));
    let length = payload.len();
    write!(stream, "CONNECT {{}}\r\nSUB a 1\r\nPUB {subject} a {length}\r\n{payload}\r\n").expect("it reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("an answer"));
    let answer = lines.find(|line| line.contains("io.nats.jetstream.api")).expect("an answer");
    assert!(!answer.contains("\"error\""), "{answer}");
}

#[test]
fn a_subject_that_is_not_permitted_is_named() {
    let user = format!("user: gateway, password: \"{PASSWORD}\"");
    let check = |permissions: &str| {
        let users = format!("users: [{{ {user}, permissions: {{ {permissions} }} }}]");
        let nats = nats(&format!("authorization {{ {users} }}"));
        check(&[
            ("NATS_SERVERS", &nats.url()),
            ("NATS_USER", "gateway"),
            ("NATS_PASSWORD", PASSWORD),
            ("NATS_SOURCE_TOPICS", "rig,other.>,last"),
        ])
    };
    let told = check("subscribe: [\"rig\", \"last\", \"_INBOX.>\"]");
    told.is_bad("nats: subject other.>", &["Permissions Violation for Subscription to \"other.>\""]);
    // The subject of the answer need not be permitted.
    check("subscribe: [\"rig\", \"last\"]").is_bad("nats: subject other.>", &["Permissions Violation"]);
    check("subscribe: { deny: \"last\" }, publish: { deny: \">\" }").is_bad("nats: subject last", &[]);
    check("subscribe: \">\"").is_good(&["nats: subject other.>: may be subscribed to"]);
}

#[test]
fn a_stream_has_to_be_there_and_its_consumer_is_created_later() {
    let nats = nats("");
    let url = nats.url();
    let settings = [("NATS_SERVERS", &*url), ("NATS_STREAM", "S"), ("NATS_CONSUMER", "C")];
    check(&settings).is_bad("nats: stream S", &["not there"]);
    jetstream(&nats, "STREAM.CREATE.S", &json!({"name": "S", "subjects": ["rig"]}));
    for _ in 0..2 {
        check(&settings).is_good(&["nats: consumer C: not there, will be created"]);
    }
    let config = json!({"durable_name": "C", "ack_policy": "explicit"});
    jetstream(&nats, "CONSUMER.CREATE.S.C", &json!({"stream_name": "S", "config": config}));
    nats.store("rig", "{}");
    check(&settings).is_good(&["nats: consumer C: 1 messages are not delivered yet"]);
    let config = json!({"durable_name": "D", "ack_policy": "none"});
    jetstream(&nats, "CONSUMER.CREATE.S.D", &json!({"stream_name": "S", "config": config}));
    let settings = [("NATS_SERVERS", &*url), ("NATS_STREAM", "S"), ("NATS_CONSUMER", "D")];
    check(&settings).is_bad("nats: consumer D", &["ack_policy"]);
    let user = format!("user: gateway, password: \"{PASSWORD}\"");
    let users = format!("users: [{{ {user}, permissions: {{ publish: {{ deny: \"$JS.API.>\" }} }} }}]");
    let refusing = self::nats(&format!("authorization {{ {users} }}"));
    let (url, password) = (refusing.url(), ("NATS_PASSWORD", PASSWORD));
    let settings = [("NATS_SERVERS", &*url), ("NATS_STREAM", "S"), ("NATS_CONSUMER", "C")];
    let told = check(&[&settings[..], &[("NATS_USER", "gateway"), password]].concat());
    told.is_bad("nats: stream S", &["Permissions Violation for Publish"]);
}

#[test]
fn the_nats_of_a_cluster_is_connected_to() {
    let (folder, nats) = (Folder::new(), nats(""));
    let cluster = |url: &str| {
        let cookie = "a cookie of the tests that is long enough";
        let data = folder.join("data");
        check(&[("CLUSTER_NATS", url), ("NODE_COOKIE", cookie), ("DATA_DIR", &data)])
    };
    cluster(&nats.url()).is_good(&["cluster: connection to NATS: connected"]);
    cluster(&format!("nats://{}", unused_address())).is_bad("cluster: connection to NATS", &["refused"]);
}
