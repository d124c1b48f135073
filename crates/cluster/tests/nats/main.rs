//! The wire over real nats-servers.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod access;
mod connection;
mod reading;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use nats::{Credentials, NatsAccess};
use rig_cluster::nats::{NatsConfig, NatsWire, NewStream};
use rig_cluster::wire::{Live, Names, Publication, StreamInfo, StreamMessage, Wire};
use rig_tests::{NatsOptions, NatsServer};
use seal::Incarnation;
use tokio::time::timeout;

/// Time limit for everything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

const STREAM: NewStream = NewStream { max_bytes: 64 << 20, adopted: true };

fn config(servers: Vec<String>, node: &str) -> NatsConfig {
    NatsConfig {
        replicas: if servers.len() > 1 { 3 } else { 1 },
        access: NatsAccess {
            servers,
            credentials: Credentials::None,
            ca: None,
            certificate: None,
            insecure: false,
        },
        cluster: "c".to_owned(),
        node: node.to_owned(),
    }
}

async fn open(config: &NatsConfig) -> NatsWire {
    let wire = NatsWire::open(config, Incarnation::of(&config.node)).await.unwrap();
    wire.connected(DEADLINE).await.unwrap();
    wire
}

/// Starts a server with the stream.
async fn one_server() -> (NatsServer, NatsWire) {
    let server = NatsServer::start(NatsOptions::default());
    let wire = open(&config(vec![server.url()], "a")).await;
    wire.create_stream(STREAM).await.unwrap();
    (server, wire)
}

/// Time limit for what needs a leader. On a loaded machine, one election may follow another.
const ELECTIONS: Duration = Duration::from_secs(60);

/// Creates the stream. After a time-out, it may exist.
async fn create_at_last(wire: &NatsWire) -> StreamInfo {
    let created = async {
        loop {
            drop(wire.create_stream(STREAM).await);
            if let Ok(info) = wire.info().await {
                return info;
            }
        }
    };
    timeout(ELECTIONS, created).await.expect("there is a leader in the end")
}

/// Connects as a program that is no gateway.
async fn raw_client(server: &NatsServer, options: async_nats::ConnectOptions) -> async_nats::Client {
    Box::pin(options.connect(server.url())).await.unwrap()
}

fn names() -> Names {
    Names::new("c")
}

fn publication(subject: &str, payload: &str) -> Publication {
    Publication {
        subject: subject.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        expected: None,
        ttl: None,
    }
}

fn operation(id: &str, payload: &str) -> Publication {
    publication(&names().operation(id), payload)
}

fn shown(message: &StreamMessage) -> (u64, String, String) {
    let payload = String::from_utf8_lossy(&message.payload).into_owned();
    (message.sequence, message.subject.replace("rig.c.s.", ""), payload)
}

fn all_shown(messages: &[StreamMessage]) -> Vec<(u64, String, String)> {
    messages.iter().map(shown).collect()
}

fn row(sequence: u64, subject: &str, payload: &str) -> (u64, String, String) {
    (sequence, subject.to_owned(), payload.to_owned())
}

async fn next<T>(stream: &mut (impl futures_util::Stream<Item = T> + Unpin)) -> T {
    timeout(DEADLINE, stream.next()).await.expect("in time").expect("the stream goes on")
}

/// Returns the next message of the live path.
async fn next_live(live: &mut (impl futures_util::Stream<Item = Live> + Unpin)) -> StreamMessage {
    loop {
        if let Live::Message(message) = next(live).await {
            return message;
        }
    }
}
