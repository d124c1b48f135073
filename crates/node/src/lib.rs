//! What a node of the gateway does, once, for all that ask for it.
//!
//! A [`Node`] revokes and lifts, publishes events, lists sessions, and runs what must always run.
//! The ports that operators and services use (inbound, admin), the canary and other nodes all come
//! here, so every revocation and every event takes the same way. The room knows no HTTP and no
//! sockets: it is handed sessions and connections, and peers behind the ports [`Bus`] and
//! [`Lease`].

mod bus;
mod forecast;
#[cfg(any(test, feature = "in-memory"))]
pub mod in_memory;
mod lease;
mod listing;
mod node;
mod order;
mod peers;
mod publish;
mod records;
mod revoke;
mod run;
mod tasks;

pub use bus::{Bus, Offered};
pub use connection::{Admission, Description, TooLarge};
pub use forecast::Forecast;
pub use lease::Lease;
pub use listing::{SessionPage, SessionSummary};
pub use node::{Cluster, Node};
pub use order::{Issued, Lasts, ResolvedOrder, RevocationOrder};
pub use publish::EventOrigin;
pub use revoke::{NotRevoked, Outcome};
pub use tasks::{Stopped, Tasks};
