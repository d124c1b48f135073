//! From a verified statement of an identity provider to the revocations that it asks for.
//!
//! The room knows logout tokens (OpenID Connect Back-Channel Logout 1.0), requests of Global Token
//! Revocation, and security events (RFC 8417, SSF, CAEP, RISC) with their subject identifiers (RFC
//! 9493). It gets claims whose signature and issuer have been verified, and the time. It knows
//! neither sockets nor keys, has no clock, and revokes nothing: the feed room does, through `node`.

mod claims;
mod config;
mod event;
mod event_name;
mod global;
mod logout;
mod ordered;
mod refused;
mod seen;
mod subject;
#[cfg(test)]
mod tests;

pub use config::{EventsConfig, FeedConfig, LogoutEnds, PollConfig, SubjectIssuer};
pub use event::{Effect, SetError, SetRefused, StreamStatus, security_event};
pub use event_name::{Action, EventName, UnknownAction, UnknownEventName};
pub use global::{GtrRefused, global_revocation};
pub use logout::logout;
pub use ordered::Ordered;
pub use refused::{Fault, Refused};
pub use seen::SeenSessions;
