//! Gives each event its position, and keeps it in the ring of recent events.
//!
//! One short lock makes the order: an event takes its position, is kept, is matched and is queued
//! for its receivers under it. A connection is added to the subscription index under the same lock,
//! and so it becomes live. So there is one moment before which an event comes from the ring, and
//! after which it comes over a lane.
//!
//! The lock is taken before those of the index, the lanes and the connections, and never while one
//! of these is held.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use event::Event;
use history::{
    EventId, EventKeys, EventPosition, Gap, IdKey, Ids, InvalidId, ResumeLimits, Ring, Series, TypeKey,
};
use session::{Selector, Subject};
use subscription::{Index, Subscription};

use crate::resume::SearchTime;
use crate::sync::{AtomicU64, Mutex, MutexGuard, uses_index};

mod given_up;

use given_up::GivenUp;

/// What a [`Sequencer`] depends on beside its ring.
#[derive(Clone, Copy, Debug)]
pub struct SequencerOptions {
    /// How long events are kept (`HISTORY`).
    pub age: Duration,
    /// Whether events also come from other nodes. They come only while their type has subscribers,
    /// so what came before the first one was missed.
    pub has_peers: bool,
    /// The most that a client may have missed.
    pub limits: ResumeLimits,
}

/// The order of the events of a node, and the recent ones.
pub struct Sequencer {
    ids: Ids,
    keys: EventKeys,
    options: SequencerOptions,
    /// The latest position whose event is in the lanes of its receivers.
    head: AtomicU64,
    ring: Mutex<Ring>,
    /// The time for [`Sequencer::search_late`].
    search_time: parking_lot::Mutex<SearchTime>,
    /// The types without subscribers whose events are kept. No other lock is taken while it is
    /// held.
    given_up: parking_lot::Mutex<GivenUp>,
}

impl Sequencer {
    /// Creates the order of events that continues this ring. The key is that of the ids.
    pub fn new(mut ring: Ring, key: &IdKey, options: SequencerOptions) -> Arc<Self> {
        let mut given_up = GivenUp::new(options.age, options.has_peers);
        if ring.last() == EventPosition::default() {
            // Here, position 0 means none.
            ring.pass();
        } else {
            // Subscribers of an earlier run may come back, whatever their types.
            given_up.keep_any(Instant::now());
        }
        Arc::new(Self {
            ids: Ids::new(key, ring.lineage().clone()),
            keys: ring.keys().clone(),
            options,
            head: AtomicU64::new(ring.last().0),
            ring: Mutex::new(ring),
            search_time: parking_lot::Mutex::new(SearchTime::new(Instant::now())),
            given_up: parking_lot::Mutex::new(given_up),
        })
    }

    /// Returns the series of the ids that are given out.
    pub fn series(&self) -> Series {
        self.ids.series()
    }

    /// Returns `true` if a series is that one, or of an earlier run that this one continues.
    pub fn is_own(&self, series: Series) -> bool {
        self.ids.lineage().has(series)
    }

    /// Returns the series that a cursor belongs to, if it is another one with the same key.
    pub fn series_of(&self, cursor: &str) -> Option<Series> {
        match self.ids.read(cursor) {
            Err(InvalidId::Elsewhere(series)) => Some(series),
            Err(InvalidId::Unknown) | Ok(_) => None,
        }
    }

    /// Returns `true` if a cursor is an id with this key, of this series or another one.
    pub fn is_id(&self, cursor: &str) -> bool {
        !matches!(self.ids.read(cursor), Err(InvalidId::Unknown))
    }

    /// Writes the ring, to be loaded by the next run. Nothing may be published any more.
    ///
    /// # Errors
    /// Fails if the output does.
    pub fn store(&self, output: &mut impl Write) -> io::Result<()> {
        self.ring.lock().write_to(output, Instant::now(), SystemTime::now())
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn keys(&self) -> &EventKeys {
        &self.keys
    }

    pub(crate) fn options(&self) -> &SequencerOptions {
        &self.options
    }

    pub(crate) fn id(&self, position: EventPosition) -> EventId {
        self.ids.text(position)
    }

    /// Returns a position up to which all events are in the lanes of their receivers.
    pub(crate) fn head(&self) -> EventPosition {
        EventPosition(self.head.load(Ordering::Acquire))
    }

    /// Stops the order. Positions are taken, and connections become live, with it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }

    /// Takes a position for an event, keeps the event, calls `taken` with the position, and `queue`
    /// with it and the receivers, which must queue the event for them and do nothing else. Returns
    /// what that returns; `None` without receivers.
    pub(crate) fn take<S: Clone, Q>(
        &self,
        event: &Event,
        index: &Index<S>,
        taken: impl FnOnce(EventPosition),
        queue: impl FnOnce(EventPosition, Vec<S>) -> Q,
    ) -> Option<Q> {
        let event_type = event.event_type();
        if let Some(type_key) = self.unwanted(event_type, index) {
            let mut ring = self.ring.lock();
            // Asked again with the lock: from here on, no subscription is added.
            uses_index();
            if !index.has(event_type)
                && let Some(position) = ring.count(type_key)
            {
                taken(position);
                self.head.store(position.0, Ordering::Release);
                return None;
            }
        }
        let values = index.extractors().values(event_type, event.json());
        let keyed = self.keys.of_event(event, &values);
        let mut ring = self.ring.lock();
        let position = ring.push(keyed, Instant::now());
        taken(position);
        uses_index();
        let receivers = index.matches_values(event_type, &values);
        let queued = (!receivers.is_empty()).then(|| queue(position, receivers));
        self.head.store(position.0, Ordering::Release);
        queued
    }

    /// Returns the key of a type whose events are not kept: it has no subscribers and had none
    /// recently.
    fn unwanted<S: Clone>(&self, event_type: &str, index: &Index<S>) -> Option<TypeKey> {
        uses_index();
        if index.has(event_type) {
            return None;
        }
        let type_key = self.keys.of_type(event_type);
        (!self.given_up.lock().keeps(type_key, Instant::now())).then_some(type_key)
    }

    /// Returns `true` if a type has subscribers, or had some recently in this run.
    fn is_known<S: Clone>(&self, event_type: &str, index: &Index<S>) -> bool {
        uses_index();
        index.has(event_type) || {
            let key = self.keys.of_type(event_type);
            self.given_up.lock().has(key, Instant::now())
        }
    }

    /// Records that the last subscriber of a type has left.
    pub(crate) fn give_up(&self, event_type: &Arc<str>) {
        let key = self.keys.of_type(event_type);
        self.given_up.lock().insert(key, event_type, Instant::now());
    }

    /// Returns the types without subscribers whose events are still received from other nodes;
    /// nothing without these.
    pub(crate) fn recently_wanted(&self) -> Vec<Arc<str>> {
        self.given_up.lock().names(Instant::now())
    }

    /// Records which types are wanted from now on, before they are in the index: nothing is known
    /// of what other nodes have published of a type that was not wanted before.
    pub(crate) fn want<S: Clone>(&self, ring: &mut Ring, subscriptions: &[Subscription], index: &Index<S>) {
        if !self.options.has_peers {
            return;
        }
        let types = subscriptions.iter().map(Subscription::event_type);
        let mut is_any = false;
        for event_type in types.filter(|event_type| !self.is_known(event_type, index)) {
            ring.absent(self.keys.of_type(event_type));
            is_any = true;
        }
        if is_any {
            if ring.has_many_absent() {
                self.retain_absent(ring, index);
            }
            // From this position on, nothing of them is missed.
            self.head.store(ring.pass().0, Ordering::Release);
        }
    }

    /// Removes the records of types that were absent and are not wanted any more: whoever wants one
    /// of them again makes another record.
    fn retain_absent<S: Clone>(&self, ring: &mut Ring, index: &Index<S>) {
        // Types go from the index to the others, and come back with the ring locked only.
        uses_index();
        let names = index.event_types();
        let present: HashSet<TypeKey> = names.iter().map(|name| self.keys.of_type(name)).collect();
        let (given_up, now) = (self.given_up.lock(), Instant::now());
        ring.retain_absent(|event_type| present.contains(&event_type) || given_up.has(event_type, now));
    }

    /// Returns `true` if all events of these subscriptions have come here lately. Others may have
    /// passed without a record. With the ring locked.
    pub(crate) fn receives<S: Clone>(&self, subscriptions: &[Subscription], index: &Index<S>) -> bool {
        let mut types = subscriptions.iter().map(Subscription::event_type);
        !self.options.has_peers || types.all(|event_type| self.is_known(event_type, index))
    }

    /// Keeps events of these types from now on. Returns a position that it takes for that.
    pub(crate) fn expect<S: Clone>(&self, subscriptions: &[Subscription], index: &Index<S>) -> EventPosition {
        let mut ring = self.ring.lock();
        self.want(&mut ring, subscriptions, index);
        for event_type in subscriptions.iter().map(Subscription::event_type) {
            if !index.has(event_type) {
                self.give_up(&event_type.into());
            }
        }
        let position = ring.pass();
        self.head.store(position.0, Ordering::Release);
        position
    }

    /// Takes a position for a loss of events of a type, or of any, and calls `queue` with it.
    pub(crate) fn lose<Q>(&self, event_type: Option<&str>, queue: impl FnOnce(EventPosition) -> Q) -> Q {
        let event_type = event_type.map(|event_type| self.keys.of_type(event_type));
        let mut ring = self.ring.lock();
        let position = ring.lose(event_type);
        let queued = queue(position);
        self.head.store(position.0, Ordering::Release);
        queued
    }

    /// Takes a position for a revocation that is about to take effect: no one whom it selects gets
    /// what came before.
    pub(crate) fn revoke(&self, selector: &Selector) {
        let claim = selector.claim().unwrap_or_default();
        let key = self.keys.of_revocation(selector.issuer.as_deref(), claim, selector.value().as_str());
        let mut ring = self.ring.lock();
        let position = ring.revoke(key, Instant::now());
        self.head.store(position.0, Ordering::Release);
    }

    /// Looks for what subscriptions have missed that are added late, with the ring locked. A client
    /// can ask for that as often as it likes, so that all of this takes a part of the time only.
    ///
    /// # Errors
    /// As the search; [`Gap::TooMany`] if there is no time left.
    pub(crate) fn search_late<T>(&self, search: impl FnOnce() -> Result<T, Gap>) -> Result<T, Gap> {
        let started = Instant::now();
        if !self.search_time.lock().is_left(started) {
            return Err(Gap::TooMany);
        }
        let found = search();
        self.search_time.lock().spend(started, started.elapsed());
        found
    }

    /// Returns the keys of all revocations that would select one of these tokens.
    pub(crate) fn revocation_keys(&self, subjects: &[Subject]) -> Vec<u128> {
        let selectors = subjects.iter().flat_map(Subject::selectors);
        selectors.map(|(issuer, claim, value)| self.keys.of_revocation(issuer, claim, value)).collect()
    }

    /// Removes what is too old, without holding the lock for long. Returns `true` if there is
    /// more.
    pub(crate) fn evict(&self) -> bool {
        let now = Instant::now();
        let mut ring = self.ring.lock();
        let is_more = ring.evict(now);
        let mut given_up = self.given_up.lock();
        given_up.tidy(|event_type| ring.has_type(event_type), now);
        drop(ring);
        if !is_more {
            given_up.expire(now);
        }
        is_more
    }
}

#[cfg(test)]
mod tests;
