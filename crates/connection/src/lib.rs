//! The connections of frontends: Server-Sent Events, WebSocket and long polling.
//!
//! A [`Connection`] is what a client holds open. The room knows how an event becomes bytes
//! ([`Frame`]), how much may wait for a slow reader, and how a connection is closed; it owns the
//! socket once the HTTP request is done. It knows neither URLs nor tokens of users nor why a
//! session is blacklisted: it is opened by the inbound room and terminated by the session room.
//!
//! Who owns what: the task that reads from the client (or, for long polling, the [`Hub`]) owns the
//! `Connection`. All others (the session registry, the subscription index, the heartbeat wheel)
//! hold it weakly, so that a client that leaves is gone everywhere at once: dropping the connection
//! undoes all of its registrations.

mod admission;
mod chunk;
mod client;
mod closing;
mod commons;
mod compact_instant;
mod config;
mod connection;
mod description;
mod directory;
mod elsewhere;
mod encoding;
mod farewell;
mod frame;
mod head;
mod hub;
mod id;
#[cfg(feature = "loom")]
#[cfg(test)]
mod interleavings;
mod lanes;
mod longpolling;
mod metrics;
mod outbox;
mod resume;
mod sequencer;
#[cfg(test)]
mod sizes;
mod socket;
mod sse;
mod stream;
mod sync;
mod ties;
mod traces;
mod transport;
pub mod websocket;
mod wheel;
mod wire_format;
mod writer;

pub use admission::{Admission, Admissions};
pub use client::Client;
pub use config::Config;
pub use connection::Connection;
pub use description::Description;
pub use elsewhere::Elsewhere;
pub use encoding::Encoding;
pub use frame::{Frame, TooLarge};
pub use history::{EventId, EventPosition, Gap, Kept, Series};
pub use hub::{Hub, InvalidToken, Located, OpenError, Opening};
pub use id::ConnectionId;
pub use longpolling::{AnswerInFlight, Batch, Cursor, PollError, last_batch};
pub use metrics::Metrics;
pub use resume::Resume;
pub use sequencer::{Sequencer, SequencerOptions};
pub use session::{Fencing, LostLease};
pub use socket::Socket;
pub use sse::{SseBody, sse_head};
pub use stream::FAREWELL;
pub use ties::BindError;
pub use traces::ConnectionTraces;
pub use transport::{CloseReason, Transport};
pub use websocket::Accept;
