//! How the gateway reaches NATS: the addresses of servers, credentials, TLS, the cause of a
//! connection that fails, and a bounded queue for what a subscription receives.
//!
//! This crate knows neither subjects nor what messages mean. The nodes of a cluster and the broker
//! each have connections of their own.

mod access;
mod cause;
mod unread;

pub use access::{AccessError, Credentials, NatsAccess, pause};
pub use cause::cause;
pub use unread::{Unread, UnreadMessages};
