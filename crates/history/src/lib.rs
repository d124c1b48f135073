//! The recent events of a node, and what a client that comes back has missed of them.
//!
//! This crate knows positions, the ids that name them, a ring of events bounded in time, bytes and
//! number, and which of them a set of subscriptions selects. It does not know connections, sockets,
//! HTTP or other nodes, takes the time as an argument, and has no lock: the caller pushes an event
//! and hands it to its receivers under one.
//!
//! What a reader with a cursor gets is exact: each event with a later position that its
//! subscriptions select, once, in the order of positions, or one [`Gap`] instead. A gap may be
//! reported although nothing was missed; the reverse never happens. An id is a place, not a right:
//! the caller decides who may read what, with the token and the subscriptions of now.
//!
//! A subscription selects the events for which [`subscription::Index`] would have found it when
//! they were pushed, with the extractors of that moment.

mod chains;
mod chunks;
mod dropped;
mod file;
mod gap;
mod id;
mod keys;
mod lineage;
mod payload;
mod revoked;
mod ring;
mod time;

pub use file::NotLoaded;
pub use gap::Gap;
pub use id::{EventId, EventPosition, IdKey, Ids, InvalidId, Series};
pub use keys::{EventKeys, Keyed, Selection, TypeKey};
pub use lineage::Lineage;
pub use ring::{Bounds, CatchUp, Kept, ResumeLimits, Ring};
