//! The ring: the recent events of a node, in the order of their positions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::chains::{ChainId, Chains, Link};
use crate::chunks::{Chunks, Number};
use crate::dropped::{Dropped, Missing, Why};
use crate::id::{EventPosition, Series};
use crate::keys::{EventKeys, Keyed, TypeKey};
use crate::lineage::Lineage;
use crate::payload::{Segment, memory_of};
use crate::revoked::Revocations;
use crate::time::{Clock, Moment};

mod catch_up;
mod restored;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use catch_up::{CatchUp, Kept, ResumeLimits};
pub(crate) use restored::Summary;

/// What a ring keeps.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long an event is kept (`HISTORY`); up to 0.2 s longer.
    pub age: Duration,
    /// The limit of bytes (`HISTORY_BYTES`): of the events' JSON, of everything that is stored
    /// beside it, and of the table of revocations. An event that exceeds it alone is not kept.
    pub bytes: usize,
    /// The limit of events.
    pub events: usize,
    /// Types of events that are not kept (`HISTORY_EXCLUDE`). A reader that is subscribed to such a
    /// type gets [`Gap::Expired`](crate::Gap::Expired) if there was an event of that type after its
    /// cursor, whatever its values.
    pub excluded: Vec<String>,
}

/// The recent events of a node. Bounded in time, bytes and number; the oldest event goes first.
///
/// Each event is in a chain for each of its keys. A reader walks the chains of its own
/// subscriptions only, from the newest entry to its cursor, so the cost follows what it missed.
pub struct Ring {
    lineage: Lineage,
    keys: EventKeys,
    bounds: Bounds,
    clock: Clock,
    /// The latest position that was taken.
    last: EventPosition,
    /// Cursors before this position are expired.
    complete_since: EventPosition,
    entries: Chunks<Entry>,
    links: Chunks<Link>,
    chains: Chains,
    /// The names of the types that have entries, by the chain of the type.
    types: HashMap<ChainId, Arc<str>>,
    /// Bytes of memory of the JSON of all entries.
    payload: usize,
    segment: Segment,
    dropped: Dropped,
    revocations: Revocations,
}

#[derive(Default)]
struct Entry {
    json: Bytes,
    position: EventPosition,
    at: Moment,
    /// The first of its links; the first one is that of its type.
    links: Number,
}

/// Expired entries that are removed with each push, and with each read.
const EXPIRED_AT_ONCE: usize = 8;
/// Expired entries that are removed by [`Ring::evict`] at once, about 50 µs.
const EXPIRED_BY_TIMER: usize = 1024;
/// The part of the bytes that revocations may take.
const PART_OF_REVOCATIONS: usize = 4;
/// Bytes of the bound for each chain that has room from the start.
const BYTES_PER_CHAIN: usize = 512;
/// The limit of entries; far below half of the numbers, so that numbers are never mistaken.
const MAX_ENTRIES: usize = 1 << 28;

impl Ring {
    /// Creates an empty ring that continues none.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        let keys = EventKeys::new(&bounds.excluded);
        Self::of_lineage(Series::random().into(), keys, bounds, now)
    }

    fn of_lineage(lineage: Lineage, keys: EventKeys, mut bounds: Bounds, now: Instant) -> Self {
        bounds.events = bounds.events.min(MAX_ENTRIES);
        let chains = (bounds.bytes / BYTES_PER_CHAIN).min(bounds.events);
        Self {
            lineage,
            clock: Clock::new(now, bounds.age),
            last: EventPosition::default(),
            complete_since: EventPosition::default(),
            entries: Chunks::default(),
            links: Chunks::default(),
            chains: Chains::with_capacity(chains),
            types: HashMap::new(),
            payload: 0,
            segment: Segment::default(),
            dropped: Dropped::default(),
            revocations: Revocations::new(bounds.bytes / PART_OF_REVOCATIONS / Revocations::BYTES),
            keys,
            bounds,
        }
    }

    /// Returns the series of the positions that it takes.
    pub const fn series(&self) -> Series {
        self.lineage.present()
    }

    /// Returns that series, and those whose positions it continues.
    pub const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Returns what computes the keys of events and subscriptions for this ring.
    pub const fn keys(&self) -> &EventKeys {
        &self.keys
    }

    /// Returns the latest position that was taken; 0 if none was.
    pub const fn last(&self) -> EventPosition {
        self.last
    }

    /// Returns the number of events in the ring.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if there are no events in the ring.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of everything in the ring, as they are compared with the bound.
    pub fn bytes(&self) -> usize {
        self.payload
            + self.entries.len() * size_of::<Entry>()
            + self.links.len() * size_of::<Link>()
            + self.chains.len() * Chains::BYTES
            + self.revocations.len() * Revocations::BYTES
    }

    /// Returns `true` if there are events of a type in the ring.
    pub fn has_type(&self, event_type: TypeKey) -> bool {
        self.chains.find(event_type.0).is_some()
    }

    /// Returns the age of the oldest event; `None` if there are no events.
    pub fn oldest(&mut self, now: Instant) -> Option<Duration> {
        self.clock.at(now);
        self.entries.front().map(|entry| self.clock.age(entry.at))
    }

    /// Takes the next position for an event and keeps the event. Oldest events that exceed a bound
    /// are removed, and a few of those that are too old.
    pub fn push(&mut self, event: Keyed<'_>, now: Instant) -> EventPosition {
        let at = self.clock.at(now);
        self.last = self.last.next();
        self.remove_expired(EXPIRED_AT_ONCE);
        if self.can_keep(&event) {
            self.keep(event, self.last, at);
        } else if event.keys.is_empty() || self.dropped.has_room(event.type_key, self.complete_since) {
            self.miss(event.type_key, Why::NotKept);
        } else {
            // There have been too many types with events that are too large.
            self.expire_before(self.last);
        }
        self.last
    }

    /// Takes the next position for an event that is not kept since its type has had no subscriber
    /// for [`Bounds::age`]. A resume that concerns it is a gap. Returns `None` if there have been
    /// too many such types: the event must be pushed.
    pub fn count(&mut self, event_type: TypeKey) -> Option<EventPosition> {
        if !self.dropped.has_room(event_type, self.complete_since) {
            return None;
        }
        self.last = self.last.next();
        self.miss(event_type, Why::NotKept);
        Some(self.last)
    }

    /// Takes a position for events of a type, or of any type, that were lost on their way to this
    /// node. A resume from before it is [`Gap::Lost`](crate::Gap::Lost).
    pub fn lose(&mut self, event_type: Option<TypeKey>) -> EventPosition {
        self.last = self.last.next();
        match event_type {
            Some(event_type) if self.dropped.has_room(event_type, self.complete_since) => {
                self.miss(event_type, Why::Lost);
            }
            _ => self.dropped.record_any(self.last),
        }
        self.last
    }

    /// Takes a position for nothing: a cursor of it is exact for types that were
    /// [absent](Ring::absent) until now.
    pub const fn pass(&mut self) -> EventPosition {
        self.last = self.last.next();
        self.last
    }

    /// Records that events of a type may have passed this node without a position until now, since
    /// the type had no subscriber. A resume that concerns it, from a cursor up to the latest
    /// position, is [`Gap::Expired`](crate::Gap::Expired). Takes no position.
    ///
    /// There is a record for each such type, which others' cursors do not depend on. It is needed
    /// as long as the type is wanted: whoever wants it again calls this again.
    pub fn absent(&mut self, type_key: TypeKey) {
        // The next position will be exact, the latest one is not.
        self.dropped.record_absent(type_key, self.last.next());
    }

    /// Returns `true` if [`Ring::retain_absent`] should be called: there are twice as many records
    /// as it has left, and some thousands.
    pub fn has_many_absent(&self) -> bool {
        self.dropped.has_many_absent()
    }

    /// Removes the records of types that are not wanted any more.
    pub fn retain_absent(&mut self, is_wanted: impl Fn(TypeKey) -> bool) {
        self.dropped.retain_absent(is_wanted);
    }

    /// Takes a position for a revocation. Until it is older than [`Bounds::age`],
    /// [`Ring::catch_up`] refuses to bridge it for a reader with this key, which is that of
    /// [`EventKeys::of_revocation`].
    pub fn revoke(&mut self, key: u128, now: Instant) -> EventPosition {
        let at = self.clock.at(now);
        self.last = self.last.next();
        if let Some(removed) = self.revocations.add(key, self.last, at) {
            self.expire_before(removed);
        }
        self.remove_excess();
        self.last
    }

    /// Returns `true` if one of these keys was revoked after the cursor.
    pub fn is_revoked_since(&self, cursor: EventPosition, keys: &[u128]) -> bool {
        self.revocations.any_since(cursor, keys)
    }

    /// Removes what is too old, a limited number at once. Returns `true` if there is more.
    pub fn evict(&mut self, now: Instant) -> bool {
        self.clock.at(now);
        self.remove_expired(EXPIRED_BY_TIMER)
    }

    /// Returns `true` unless an event is excluded, or exceeds the bound alone.
    fn can_keep(&self, event: &Keyed<'_>) -> bool {
        !event.keys.is_empty() && self.bytes_of(event) <= self.bounds.bytes
    }

    /// Returns the bytes that an event would take in an empty ring.
    fn bytes_of(&self, event: &Keyed<'_>) -> usize {
        let of_keys = event.keys.len() * (size_of::<Link>() + Chains::BYTES);
        event.payload.memory() + size_of::<Entry>() + of_keys + self.revocations.len() * Revocations::BYTES
    }

    /// Records an event at the latest position that is not in the ring.
    fn miss(&mut self, event_type: TypeKey, why: Why) {
        self.dropped.record(event_type, Missing { position: self.last, why });
    }

    /// Adds an entry that is newer than all others, and removes the oldest ones that exceed a
    /// bound, if need be also the new one.
    fn keep(&mut self, event: Keyed<'_>, position: EventPosition, at: Moment) {
        let number = self.entries.next();
        let links = self.links.next();
        for (at, key) in event.keys.iter().enumerate() {
            let link = self.chains.extend(*key, number);
            if at == 0 && link.previous == number {
                self.types.insert(link.chain, event.event_type.into());
            }
            self.links.push(link);
        }
        self.payload += event.payload.memory();
        let json = self.segment.keep(event.payload);
        self.entries.push(Entry { json, position, at, links });
        self.remove_excess();
    }

    /// Removes oldest entries until the bounds hold.
    fn remove_excess(&mut self) {
        while self.bytes() > self.bounds.bytes || self.len() > self.bounds.events {
            if !self.remove_oldest() {
                break;
            }
        }
    }

    fn remove_expired(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            if let Some(removed) = self.revocations.expire(&self.clock) {
                self.expire_before(removed);
            } else if self.entries.front().is_some_and(|oldest| self.clock.is_past(oldest.at)) {
                self.remove_oldest();
            } else {
                return false;
            }
        }
        true
    }

    /// Removes the oldest entry. Returns `false` if there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some(entry) = self.entries.pop() else { return false };
        let end = self.entries.front().map_or(self.links.next(), |next| next.links);
        for at in 0..end.wrapping_sub(entry.links) {
            let Some(link) = self.links.pop() else { break };
            if self.chains.shorten(link.chain) && at == 0 {
                self.types.remove(&link.chain);
            }
        }
        self.payload -= memory_of(entry.json.len());
        self.expire_before(entry.position);
        true
    }

    /// Makes cursors before this position expire.
    fn expire_before(&mut self, position: EventPosition) {
        self.complete_since = self.complete_since.max(position);
    }
}
