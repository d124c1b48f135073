//! The operations of a gateway node, implemented once for all callers.
//!
//! A [`Node`] revokes and lifts, publishes events, lists sessions, and runs the background tasks.
//! The ports for operators and services (inbound, admin), the canary and other nodes all call it,
//! so that every revocation and every event takes the same path. The room contains neither HTTP nor
//! sockets: it gets sessions and connections, and reaches other nodes through the ports [`Bus`],
//! [`Peers`] and [`Lease`]. A [`Source`] brings events from elsewhere.

mod ask;
mod bus;
mod elsewhere;
mod forecast;
mod gathering;
#[cfg(any(test, feature = "in-memory"))]
pub mod in_memory;
mod lease;
mod listing;
mod node;
mod order;
mod peers;
mod publish;
mod records;
mod rendezvous;
mod revoke;
mod run;
mod source;
mod spread;
mod tasks;

pub use ask::{AskError, PeerHandler, PeerRoom, Peers, Replies};
pub use bus::{Bus, IdTaken, NoQuorum, Offered, Reservation, Stamp};
pub use connection::{Admission, Description, TooLarge};
pub use elsewhere::Numbers;
pub use forecast::Forecast;
pub use gathering::{ConnectionPlace, GatheredSession, GatheredSessions};
pub use lease::Lease;
pub use listing::{SessionPage, SessionSummary};
pub use node::{Cluster, Node, Readiness};
pub use order::{Issued, Lasts, ResolvedOrder, RevocationOrder};
pub use publish::EventOrigin;
pub use revoke::{LiftOutcome, NotLifted, NotRevoked, Outcome};
pub use source::Source;
pub use spread::{NodeReach, Reach, Spread};
pub use tasks::{Stopped, Tasks};
