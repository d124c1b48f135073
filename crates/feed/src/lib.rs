//! The feeds of identity providers: what they state is verified, turned into revocations, and
//! answered.
//!
//! A feed **only makes revocations**, through [`node::Node::revoke`]. The room knows the HTTP form
//! of each feed: back-channel logout, Global Token Revocation, security events that are pushed (RFC
//! 8935) or fetched (RFC 8936). What a statement means is known to the identity room, and who may
//! sign it to auth. The ports mount the feeds; this room opens no socket.

mod answer;
mod bearer;
mod carry_out;
mod check;
mod events;
mod feeds;
mod global;
mod issuer;
mod logout;
mod metrics;
mod poll;
mod signatures;
#[cfg(test)]
mod tests;

pub use feeds::{Feed, Feeds, Parts};
pub use issuer::LastStatement;
pub use metrics::{FeedName, StatementResult};
pub use poll::{Http, poll};
pub use signatures::Signatures;
