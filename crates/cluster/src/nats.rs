//! The wire over NATS, by async-nats.
//!
//! The library connects, subscribes and frames. Everything of JetStream is a request of our own:
//! each has a deadline, and no consumer is recreated behind our back.
//!
//! | file | contents |
//! | --- | --- |
//! | `config.rs` | the options of connections |
//! | `link.rs` | one connection, its events |
//! | `servers.rs` | which server a connection goes to |
//! | `inbox.rs` | answers to requests |
//! | `control.rs` | the control connection: a [`Wire`](crate::wire::Wire) |
//! | `events.rs` | the connection of events |
//! | `reading.rs` | reads the stream: parts of it, all of it, last messages |
//! | `message.rs` | headers of messages of the stream |
//! | `stream.rs` | the configuration of the stream, compared and created |

mod config;
mod control;
mod events;
mod inbox;
mod link;
mod message;
mod reading;
mod servers;
mod stream;

pub use config::NatsConfig;
pub use control::NatsWire;
pub use events::NatsEvents;
pub use stream::NewStream;
