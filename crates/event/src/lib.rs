//! CloudEvents: the envelope and the received bytes, the bindings, JSON Pointer.
//!
//! This crate knows the versions 0.1, 0.2, 0.3 and 1.0 of CloudEvents, the attributes that each
//! requires, and how an HTTP request or a message of Kafka or NATS carries them. It keeps the JSON
//! of an event in structured mode byte for byte, and reads `data` only through pointers. It does no
//! I/O, and does not know subscriptions, who may publish, or how an event is written to a client.

mod document;
mod error;
mod event;
pub mod http;
pub mod kafka;
#[cfg(feature = "kpl")]
pub mod kpl;
pub mod nats;
mod pointer;
mod pointer_tree;
mod rules;
mod syntax;
mod version;

pub use document::ExtensionNames;
pub use error::EventError;
pub use event::Event;
pub use pointer::{Pointer, PointerError};
pub use pointer_tree::PointerTree;
pub use rules::{MAX_ID, MAX_SOURCE, MAX_TYPE};
pub use version::Version;
