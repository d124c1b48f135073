//! RIG.Session: sessions that can be made illegal to use.
//!
//! A session is named by a claim of the user's JWT. All connections made with that JWT belong to it. Blacklisting a
//! session for some time makes it illegal to use and terminates its established connections.
//!
//! The room knows names, the blacklist and the registry of connections. It knows no sockets, no HTTP and no tokens: it is
//! handed verified claims, and tells a [`Connection`] that its session is over. It stands alone, so that any other
//! service can use it:
//!
//! ```
//! use std::sync::{Arc, Weak};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//! use rig_session::{Config, Connection, SessionName, Sessions};
//!
//! #[derive(Default)]
//! struct Socket { killed: AtomicBool }
//!
//! impl Connection for Socket {
//!     fn session_killed(&self, _session: &SessionName) {
//!         self.killed.store(true, Ordering::SeqCst);
//!     }
//! }
//!
//! let sessions = Sessions::in_memory(Config::default());
//! let claims = serde_json::json!({ "sub": "alice", "jti": "alice-laptop" });
//! let name = sessions.from_claims(claims.as_object().unwrap()).unwrap();
//!
//! // The connection belongs to whoever opened it; the registry only knows it. Dropping the guard unregisters it.
//! let socket = Arc::new(Socket::default());
//! let weak: Weak<Socket> = Arc::downgrade(&socket);
//! let registration = sessions.register_connection(&name, weak).unwrap();
//!
//! // The user is thrown out: the connection has been told when the call returns, and a new one is refused.
//! sessions.blacklist(&name, Duration::from_secs(60)).unwrap();
//! assert!(socket.killed.load(Ordering::SeqCst));
//! assert!(sessions.is_blacklisted(&name));
//! let weak: Weak<Socket> = Arc::downgrade(&socket);
//! assert!(sessions.register_connection(&name, weak).is_err());
//! ```
//!
//! Two promises hold for every interleaving. **No gap:** of a registration and a revocation of the same session, either
//! the registration is refused or the connection is told. **One apply path:** [`Sessions::apply`] alone writes the
//! blacklist, and it always also kills.

mod clock;
mod config;
mod log;
mod name;
mod sessions;
mod shard;
mod sync;

pub use clock::Clock;
pub use config::{ClaimError, Config, PointerError};
pub use log::{Log, LogError, MemoryLog, Revocation};
pub use name::{NameError, SessionName};
pub use sessions::{Applied, Blacklisted, Connection, Counts, Registration, Sessions};
