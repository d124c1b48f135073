//! What belongs to a connection works at any node, and a revocation reaches it at any node.

mod peers;
mod polls;
mod subscriptions;
mod world;
