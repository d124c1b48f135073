//! Several nodes that agree on revocations, over NATS JetStream.
//!
//! This room knows the protocol between nodes, and NATS. It does not know HTTP or sockets of
//! clients. Whatever another node has decided takes effect through [`node::Node`], as what an
//! operator decides here does. `core.rs` explains the protocol; `docs/cluster.md` says what it
//! guarantees.

mod applier;
mod bus;
pub mod codec;
pub mod core;
pub mod definitions;
mod driver;
pub mod events;
mod flaw;
pub mod identity;
mod keys;
mod member;
pub mod message;
mod metrics;
pub mod nats;
mod once;
mod peers;
#[cfg(test)]
mod sim;
pub mod wire;

pub use keys::Keys;
pub use member::{Config, Joined, Member};
pub use metrics::Metrics;
