//! Somebody has access to NATS as a node has it, but not to the cookie: nothing that was revoked is
//! free at any node, also not at one that starts later.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rig_tests::*;

const LEASE: ClusterOptions<'static> = ClusterOptions { servers: 1, lease: "3s", settings: &[] };

/// A client of NATS that hears the operations of the stream.
struct Intruder(BufReader<TcpStream>);

impl Intruder {
    fn connect(cluster: &Cluster) -> Self {
        let address = cluster.nats.urls().replace("nats://", "");
        let stream = TcpStream::connect(address).expect("nats-server listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration");
        let mut intruder = Self(BufReader::new(stream));
        intruder
            .write(b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB rig.test.live.op.* 1\r\nPING\r\n");
        while intruder.line() != "PONG" {}
        intruder
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("nats-server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("nats-server writes");
        line.trim_end().to_owned()
    }

    /// Returns the subject and the payload of the next message that is stored.
    fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            let ["HMSG", live, _, .., head, whole] = words[..] else { continue };
            let [head, whole] = [head, whole].map(|length| length.parse().expect("a length"));
            let mut message = vec![0; whole];
            self.0.read_exact(&mut message).expect("a whole message");
            return (live.replace(".live.", ".s."), message.split_off(head));
        }
    }

    /// Stores a message in the place of the last one of its subject.
    fn overwrite(&mut self, subject: &str, payload: &[u8]) {
        let head = format!("PUB {subject} {}\r\n", payload.len());
        self.write(&[head.as_bytes(), payload, b"\r\n"].concat());
        assert_eq!(self.next(), (subject.to_owned(), payload.to_vec()), "it hears itself");
    }
}

#[test]
fn what_overwrites_a_revocation_is_replaced_by_it() {
    let mut cluster = Cluster::prepare(LEASE);
    [0, 1].into_iter().for_each(|node| cluster.launch(node));
    cluster.await_ready_of(&[0, 1]);
    let mut intruder = Intruder::connect(&cluster);
    cluster.gateway(0).blacklist("s");
    let (subject, _) = intruder.next();
    intruder.overwrite(&subject, b"x");
    let (stored, payload) = intruder.next();
    assert_eq!((stored, payload.len() > 1), (subject, true), "stored again");

    // Revoked, lifted, revoked: then the lift is stored again.
    let gateway = cluster.gateway(1);
    assert_eq!(cluster.revoke(1, "again").status, 201);
    let (subject, _) = intruder.next();
    assert_eq!(gateway.ask_internal(&Request::new("DELETE", "/v4/revocations/again")).status, 204);
    let (_, lift) = intruder.next();
    assert_eq!(cluster.revoke(1, "again").status, 201);
    let (_, revocation) = intruder.next();
    assert_ne!(lift, revocation);
    intruder.overwrite(&subject, &lift);
    let (stored, payload) = intruder.next();
    assert!(stored == subject && payload != lift, "stored again");

    cluster.launch(2);
    cluster.await_ready_of(&[2]);
    for node in 0..3 {
        assert_eq!(
            ["s", "again"].map(|session| cluster.gateway(node).status_of(session)),
            [400; 2],
            "{node}"
        );
    }
}
