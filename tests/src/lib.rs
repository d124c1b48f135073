//! The harness of the black-box tests: it starts the gateway's binary on free ports and speaks to
//! it byte by byte.
//!
//! It knows the protocols from outside only: nothing of the gateway's code is used here, so a
//! mistake there cannot hide behind the same mistake here. Everything blocks, with a deadline; a
//! test is one thread that tells a story.

mod apis;
mod client;
mod folder;
mod gateway;
mod haproxy;
mod http2;
mod longpolling;
mod nginx;
mod program;
mod scenarios;
mod script;
mod sse;
mod strict;
mod stub;
mod token;
mod upstream;
mod websocket;
mod wire;

pub use apis::{api_names, api_of, definition, everything, pass_all, pass_all_http2, post_api};
pub use client::{Request, Response};
pub use folder::Folder;
pub use gateway::Gateway;
pub use haproxy::Haproxy;
pub use http2::{Http2, raw};
pub use longpolling::{LongPolling, Poll};
pub use nginx::Nginx;
pub use scenarios::{Scenarios, redacted};
pub use script::ScriptServer;
pub use sse::Sse;
pub use strict::requests;
pub use stub::{Asked, Stub};
pub use token::{KEY, claims, in_seconds, signed, token_of};
pub use upstream::{RawUpstream, Received, Script, Upstream, api, nobody};
pub use websocket::{Frame, Opcode, WebSocket};
pub use wire::{DEADLINE, Record, Wire, eventually};

/// Cross-origin answers to requests without cookies, as text.
pub const CORS: &str = "access-control-allow-origin: *";

/// A text that pages of any origin may read.
pub const CORS_TEXT: &str = "access-control-allow-origin: * | content-type: text/plain; charset=utf-8";

/// JSON that pages of any origin may read.
pub const CORS_JSON: &str = "access-control-allow-origin: * | content-type: application/json; charset=utf-8";

/// A query component.
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

/// RIG's example of an extractor: greetings by name, and each user those to its own.
pub const EXTRACTORS: &str = r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"},"jwt":{"json_pointer":"/username"}}}}"#;

/// A CloudEvent of version 0.2 with a name in its data, in the spacing of RIG's own examples.
pub fn greeting(id: &str, name: &str) -> String {
    format!(
        r#"{{"specversion": "0.2", "type": "greeting", "source": "/o", "id": "{id}", "data": {{"name": "{name}"}}}}"#
    )
}
