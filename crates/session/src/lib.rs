//! RIG.Session: sessions that can be made illegal to use.
//!
//! A session is named by a claim of the user's JWT. All connections made with that JWT belong to
//! it. Blacklisting a session for some time makes it illegal to use and terminates its established
//! connections.
//!
//! The room knows names, the blacklist and the registry of connections. It knows no sockets, no
//! HTTP and no tokens: it is handed verified claims, and tells a [`Connection`] that its session is
//! revoked. It stands alone, so that any other service can use it:
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
//! let name = sessions.from_claims(claims.as_object().unwrap()).unwrap();
//!
//! // The connection belongs to whoever opened it; the registry holds it weakly.
//! // Dropping the guard unregisters it.
//! let socket = Arc::new(Socket::default());
//! let weak: Weak<Socket> = Arc::downgrade(&socket);
//! let registration = sessions.register_connection(&name, weak).unwrap();
//!
//! // The user is thrown out: the connection is terminated when the call
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
//! | `from_claims` | [`Sessions::from_claims`] |
//! | `register_connection` | [`Sessions::register_connection`] |
//!
//! Beyond RIG, a [`Revocation`] can select by another claim than the session's, only tokens issued
//! up to some time, and only disconnect; it has an id, can be asked for and
//! [lifted](Sessions::lift). A [`Subject`] is what a token says of all that; a connection
//! registered with it is also terminated when its token expires, unless it is
//! [renewed](Registration::renew).
//!
//! Three promises hold for every interleaving (`tests/loom.rs` explores them). **No gap:** of a
//! registration and a revocation of the same session, either the registration is refused or the
//! connection is notified. **Nothing after:** when a revocation has returned, every connection has
//! been notified, even if another revocation was ahead of it. **One apply path:** whatever makes a
//! session illegal goes through one function, behind [`Sessions::accept`], [`Sessions::apply`] (for
//! a log that others share) and [`Sessions::sweep`]: it alone adds to the blacklist, and it always
//! also takes the connections out.
//!
//! Validities count down on the monotonic clock: setting the time of day neither prolongs nor
//! shortens a revocation. Call [`Sessions::sweep`] about ten times a second: it terminates what has
//! expired, and forgets it.

mod age;
mod barred;
mod clock;
mod config;
mod connection;
mod digits;
mod fence;
mod kill;
mod log;
mod members;
mod name;
mod node_name;
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
pub use config::{ClaimError, Config, Expiry, SelectorError};
pub use connection::{Blacklisted, Cause, Connection, Ended, Ending, Notified};
pub use fence::Fence;
pub use kill::Kill;
pub use log::{Appended, DISCONNECT_KEPT, Entry, Log, LogError, MemoryLog, Operation, Position};
pub use name::{NameError, SessionName};
pub use node_name::NodeName;
pub use pointer::ClaimPointerError;
pub use revocation::{Mode, Receipt, Record, Revocation, RevocationId, RevocationIdError, Seq};
pub use selector::Selector;
pub use sessions::{Accepted, Affected, Counts, RevokeError, Sessions};
pub use subject::{Registration, Subject};
