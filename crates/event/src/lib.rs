//! CloudEvents: the envelope beside the bytes that came in, the HTTP bindings, JSON Pointer.
//!
//! This room knows the versions 0.1, 0.2, 0.3 and 1.0 of CloudEvents, which attributes each
//! requires, and how an HTTP request carries one event or many. It keeps an event's JSON byte for
//! byte where it came in structured, and looks into `data` only through pointers. It does no I/O,
//! and does not know who is subscribed to what, who may publish, or how an event is written to a
//! client.

mod document;
mod error;
mod event;
pub mod http;
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
