//! What belongs to a connection works at any node, and a revocation reaches it at any node.

mod peers;
mod polls;
mod resume;
mod subscriptions;
mod world;
