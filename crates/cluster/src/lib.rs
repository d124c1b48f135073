//! Several nodes that agree on revocations, over NATS JetStream.
//!
//! This room knows the protocol between nodes, and NATS. It does not know HTTP or sockets of
//! clients. Whatever another node has decided takes effect through [`node::Node`], as what an
//! operator decides here does. `core.rs` explains the protocol; `docs/cluster.md` says what it
//! guarantees.

pub mod codec;
pub mod core;
pub mod events;
mod flaw;
mod keys;
pub mod message;
mod metrics;
pub mod nats;
pub mod place;
mod policy;
pub mod wire;

pub use keys::Keys;
pub use metrics::Metrics;
pub use policy::LostLease;
