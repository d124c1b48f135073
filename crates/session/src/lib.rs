//! RIG.Session: sessions that can be made illegal to use.
//!
//! A session is named by a claim of the user's JWT. All connections made with that JWT belong to
//! it. Blacklisting a session for some time makes it illegal to use and terminates its established
//! connections.
//!
//! This crate knows names, the blacklist and the registry of connections. It receives verified
//! claims and notifies a [`Connection`] when its session is revoked. It knows neither sockets nor
//! HTTP nor tokens, and depends on no other crate of the gateway, so that any service can use it:
//!
//! ```
//! use std::sync::{Arc, Weak};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//! use rig_session::{Config, Connection, Ending, Sessions, Notified};
//!
//! #[derive(Default)]
//! struct Socket { killed: AtomicBool }
//!
//! impl Connection for Socket {
//!     fn session_killed(&self, _ending: &Arc<Ending>) -> Notified {
//!         self.killed.store(true, Ordering::SeqCst);
//!         Notified::ended()
//!     }
//! }
//!
//! let sessions = Sessions::in_memory(Config::default());
//! let claims = serde_json::json!({ "sub": "alice", "jti": "alice-laptop" });
//! let name = sessions.session_of(claims.as_object().unwrap()).unwrap();
//!
//! // The caller owns the connection; the registry holds it weakly.
//! // Dropping the guard unregisters it.
//! let socket = Arc::new(Socket::default());
//! let weak: Weak<Socket> = Arc::downgrade(&socket);
//! let registration = sessions.register_connection(&name, weak).unwrap();
//!
//! // The session is revoked: its connection has been terminated when the call
//! // returns, and a new one is refused.
//! sessions.blacklist(&name, Duration::from_secs(60)).unwrap();
//! assert!(socket.killed.load(Ordering::SeqCst));
//! assert!(sessions.is_blacklisted(&name));
//! let weak: Weak<Socket> = Arc::downgrade(&socket);
//! assert!(sessions.register_connection(&name, weak).is_err());
//! ```
//!
//! | RIG | here |
//! | --- | --- |
//! | `blacklist` | [`Sessions::blacklist`] |
//! | `blacklisted?` | [`Sessions::is_blacklisted`] |
//! | `config` | [`Sessions::config`] |
//! | `from_claims` | [`Sessions::session_of`] |
//! | `register_connection` | [`Sessions::register_connection`] |
//!
//! Beyond RIG, a [`Revocation`] can select tokens by a claim other than the session's, restrict
//! itself to tokens issued up to some time, and disconnect without revoking. It has an id, by which
//! it can be queried and [lifted](Sessions::lift). A [`Subject`] holds what a token says about all
//! of these. A connection that is registered with it is also terminated when its token expires,
//! unless it is [renewed](Registration::renew).
//!
//! Three guarantees hold for every interleaving (`tests/loom.rs` explores them). **No gap:** if a
//! connection is registered while its session is revoked, either the registration is refused or the
//! connection is notified. **Nothing after:** when a revocation has returned, every connection has
//! been notified, including those that a concurrent revocation had taken out first. **One apply
//! path:** a single function makes sessions illegal. It adds the entry to the blacklist and takes
//! the connections out together; [`Sessions::accept`], [`Sessions::apply`] (for entries of a log
//! that others share) and [`Sessions::sweep`] all go through it.
//!
//! Validities count down on the monotonic clock: setting the time of day neither prolongs nor
//! shortens a revocation. Call [`Sessions::sweep`] about ten times a second: it terminates the
//! connections of expired tokens and removes expired revocations.

mod age;
mod barred;
mod clock;
mod config;
mod connection;
mod digits;
mod fence;
mod kill;
mod log;
mod lost_lease;
mod members;
mod memory_log;
mod name;
mod node_name;
mod place;
mod pointer;
mod revocation;
mod selector;
mod sessions;
mod shard;
mod subject;
#[cfg(all(any(test, feature = "suite"), not(feature = "loom")))]
pub mod suite;
mod sync;

pub use clock::Clock;
pub use config::{ClaimError, Config, Expiry, IssuerField, SelectorError};
pub use connection::{Blacklisted, Cause, Connection, Ended, Ending, Notified};
pub use fence::{Fence, FenceChanged};
pub use kill::Kill;
pub use log::{
    Appended, Appending, DISCONNECT_KEPT, Entry, LIFT_KEPT, Log, LogError, Operation, Replaced, SharedState,
    StateCursor, StatePage,
};
pub use lost_lease::{Fencing, LostLease};
pub use memory_log::MemoryLog;
pub use name::{NameError, SessionName};
pub use node_name::NodeName;
pub use place::{Epoch, KnownState, Place, Position, StateChange};
pub use pointer::ClaimPointerError;
pub use revocation::{Mode, Receipt, Record, Revocation, RevocationId, RevocationIdError, Seq};
pub use selector::{Selected, Selector};
pub use sessions::{Accepted, Affected, Counts, RevokeError, Sessions};
pub use subject::{Registration, Subject, TokenTraces, Verified};
