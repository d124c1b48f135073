//! The harness of the black-box tests: it starts the gateway's binary on free ports and speaks to
//! it byte by byte.
//!
//! It implements the protocols itself and uses none of the gateway's code, so that a mistake in the
//! gateway cannot be hidden by the same mistake here. All calls block, with a deadline; a test is a
//! single thread that runs one story.

mod apis;
mod authority;
mod browser_cookies;
mod chunked;
mod client;
mod cluster;
mod event_source;
mod event_stream;
mod folder;
mod gateway;
mod glewlwyd;
mod haproxy;
mod hook;
mod http2;
mod issuer;
mod kafka;
mod kinesis;
mod longpolling;
mod nats;
mod nemesis;
mod nginx;
mod node_script;
mod program;
mod provider;
mod publisher;
mod random;
mod registry;
mod scenarios;
mod script;
mod sse;
mod strict;
mod stub;
mod tap;
mod token;
mod upstream;
mod websocket;
mod wire;

pub use apis::{api_names, api_of, definition, everything, pass_all, pass_all_http2, post_api};
pub use authority::Authority;
pub use client::{Request, Response};
pub use cluster::{Cluster, ClusterOptions, Direction, Link, LinkState, Nats, Node};
pub use event_source::EventSource;
pub use event_stream::{Dispatched, EventStream};
pub use folder::Folder;
pub use gateway::Gateway;
pub use glewlwyd::{Glewlwyd, GlewlwydLogin};
pub use haproxy::Haproxy;
pub use hook::{HookPost, HookReceiver};
pub use http2::{Http2, raw};
pub use issuer::{KeySetState, StubIssuer};
pub use kafka::{Gate, GateOptions, GateSasl, GateTls, KafkaClient, KafkaMember, KafkaMessage, KafkaServer};
pub use kinesis::Kinesis;
pub use longpolling::{LongPolling, Poll};
pub use nats::{NatsCluster, NatsOptions, NatsServer};
pub use nemesis::{Fault, Nemesis, NemesisOptions, Outcome, Strike, Verdict, schedule};
pub use nginx::Nginx;
pub use node_script::{Story, node_script, run_story};
pub use provider::{Browser, Logout, Provider, Tokens, claims_of};
pub use publisher::Publisher;
pub use random::Random;
pub use registry::{RegistryOptions, RegistryState, SchemaRegistry};
pub use scenarios::{Scenarios, redacted};
pub use script::ScriptServer;
pub use sse::Sse;
pub use strict::requests;
pub use stub::{Asked, Stub};
pub use tap::Tap;
pub use token::{KEY, claims, in_seconds, signed, token_of};
pub use upstream::{RawUpstream, Received, Script, Upstream, api, unused_address};
pub use websocket::{Frame, Opcode, WebSocket};
pub use wire::{DEADLINE, Record, Wire, eventually};

/// The headers of an answer that pages of any origin may read, as [`Response::shown`] prints them.
pub const CORS: &str = "access-control-allow-origin: *";

/// The headers of a text that pages of any origin may read.
pub const CORS_TEXT: &str = "access-control-allow-origin: * | content-type: text/plain; charset=utf-8";

/// The headers of JSON that pages of any origin may read.
pub const CORS_JSON: &str = "access-control-allow-origin: * | content-type: application/json; charset=utf-8";

/// Encodes a component of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// RIG's example of an extractor: selects greetings by name, and sends each user those with the
/// user's own name.
pub const EXTRACTORS: &str = r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"},"jwt":{"json_pointer":"/username"}}}}"#;

/// Returns a CloudEvent of version 0.2 with a name in its data, spaced as in RIG's examples.
pub fn greeting(id: &str, name: &str) -> String {
    format!(
        r#"{{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "{id}", "data": {{"name": "{name}"}}}}"#
    )
}

/// Returns the query that subscribes to these types.
pub fn subscribed_to(event_types: &[&str]) -> String {
    let list: Vec<_> = event_types.iter().map(|name| serde_json::json!({ "eventType": name })).collect();
    format!("subscriptions={}", encoded(&serde_json::Value::from(list).to_string()))
}

/// Returns an event of this type without data.
pub fn event_of(event_type: &str, id: impl std::fmt::Display) -> String {
    format!(r#"{{"specversion":"1.0","type":"{event_type}","source":"/s","id":"{id}"}}"#)
}
