//! What a reader has missed, all at once or at the pace of its socket.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::walk::Found;
use super::{EXPIRED_AT_ONCE, Entry, Ring};
use crate::gap::Gap;
use crate::id::EventPosition;
use crate::keys::Selection;

/// The most that a reader may have missed when it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeLimits {
    /// The limit of events.
    pub events: usize,
    /// The limit of bytes of their JSON.
    pub bytes: usize,
}

impl Default for ResumeLimits {
    /// 10,000 events and 8 MiB. With more, a client is faster if it loads its state anew.
    fn default() -> Self {
        Self { events: 10_000, bytes: 8 << 20 }
    }
}

/// An event of the ring.
///
/// The JSON is part of a segment of up to 14 KiB that stays in memory as long as any part of it is
/// held: encode it into bytes of its own instead of holding it for a slow client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its position.
    pub position: EventPosition,
    /// Its type.
    pub event_type: Arc<str>,
    /// The event in CloudEvents' JSON format.
    pub json: Bytes,
}

/// A reader on its way from its cursor to the newest event, or to where it was live already.
pub struct CatchUp {
    selection: Selection,
    /// Everything that is selected up to here was returned.
    position: EventPosition,
    /// The last position that is returned, in which case the window has all entries; `None`: the
    /// newest one.
    until: Option<EventPosition>,
    /// The next entries, the last one first. All are after `position`.
    window: Vec<Found>,
    /// No other entry up to here is selected.
    known_to: EventPosition,
}

/// The least number of entries that a search remembers if it finds more; 32 KiB.
const WINDOW: usize = 4096;
/// A search that finds more remembers this part of it, so that what it costs for each event is
/// bounded.
const PART_OF_FOUND: usize = 16;

impl CatchUp {
    /// Returns where the reader is: it has got everything up to this position.
    pub const fn position(&self) -> EventPosition {
        self.position
    }

    /// Returns the bytes of memory that it takes, beside its selection.
    pub const fn bytes(&self) -> usize {
        self.window.capacity() * size_of::<Found>()
    }
}

impl Ring {
    /// Begins to catch up from a cursor. `revocation_keys` are the keys of all revocations that
    /// would select the reader's token. Under the lock under which the reader's subscriptions were
    /// added to the index, so that nothing falls between.
    ///
    /// # Errors
    /// Fails if the reader cannot get everything after its cursor that is selected, or not within
    /// the limits.
    pub fn catch_up(
        &mut self,
        cursor: EventPosition,
        selection: Selection,
        revocation_keys: &[u128],
        limits: ResumeLimits,
        now: Instant,
    ) -> Result<CatchUp, Gap> {
        self.admit(cursor, &selection, revocation_keys, now)?;
        let found = self.find(cursor, &selection, limits.events)?;
        self.limit(&found, limits)?;
        let mut catch_up =
            CatchUp { selection, position: cursor, until: None, window: Vec::new(), known_to: cursor };
        self.remember(&mut catch_up, found);
        Ok(catch_up)
    }

    /// Begins to catch up on what subscriptions that were added at `until` would have selected
    /// after a cursor, and the `old` ones did not. [`Ring::next`] returns nothing after `until`,
    /// from where on the reader is live.
    ///
    /// # Errors
    /// As [`Ring::catch_up`]. Also fails if something selected was not kept or lost after `until`.
    #[expect(clippy::too_many_arguments, reason = "each is one fact about the reader")]
    pub fn added(
        &mut self,
        cursor: EventPosition,
        until: EventPosition,
        added: Selection,
        old: &Selection,
        revocation_keys: &[u128],
        limits: ResumeLimits,
        now: Instant,
    ) -> Result<CatchUp, Gap> {
        self.admit(cursor, &added, revocation_keys, now)?;
        let until = until.min(self.last);
        let place = |found: &Found| self.place(found);
        let before = self.find(cursor, old, usize::MAX)?;
        // What the old ones selected does not count.
        let mut found = self.find(cursor, &added, limits.events.saturating_add(before.len()))?;
        found.retain(|found| {
            let is_until = self.entries.get(found.number).is_some_and(|entry| entry.position <= until);
            is_until && before.binary_search_by_key(&place(found), place).is_err()
        });
        self.limit(&found, limits)?;
        found.reverse();
        found.shrink_to_fit();
        Ok(CatchUp { selection: added, position: cursor, until: Some(until), window: found, known_to: until })
    }

    /// Returns the next events, at least one if there is one. Without any, the reader has reached
    /// the newest event, or that at which its subscriptions were added: it is live if that is noted
    /// under the same lock.
    ///
    /// # Errors
    /// Fails if the ring has passed the reader, or something that it should get was lost or not
    /// kept. Then nothing more can be returned.
    pub fn next(
        &mut self,
        catch_up: &mut CatchUp,
        max_events: usize,
        max_bytes: usize,
        now: Instant,
    ) -> Result<Vec<Kept>, Gap> {
        self.evict_some(now);
        if catch_up.until.is_none() {
            self.check(catch_up.position, &catch_up.selection)?;
        }
        let mut events = Vec::with_capacity(catch_up.window.len().min(max_events));
        let mut bytes = 0;
        loop {
            while let Some(found) = catch_up.window.last() {
                let entry = self.entries.get(found.number).filter(|entry| !self.clock.is_past(entry.at));
                let entry = entry.ok_or(Gap::Expired)?;
                let is_full = events.len() >= max_events || bytes + entry.json.len() > max_bytes;
                if is_full && !events.is_empty() {
                    return Ok(events);
                }
                let of_type = &catch_up.selection.types[found.selected as usize];
                bytes += entry.json.len();
                catch_up.position = entry.position;
                catch_up.window.pop();
                events.push(Kept {
                    position: entry.position,
                    event_type: of_type.event_type.clone(),
                    json: entry.json.clone(),
                });
            }
            catch_up.position = catch_up.position.max(catch_up.known_to);
            if catch_up.until.is_some() || catch_up.position >= self.last {
                return Ok(events);
            }
            let found = self.find(catch_up.position, &catch_up.selection, usize::MAX)?;
            self.remember(catch_up, found);
        }
    }

    /// Returns everything that a reader has missed.
    ///
    /// # Errors
    /// As [`Ring::catch_up`].
    pub fn since(
        &mut self,
        cursor: EventPosition,
        selection: Selection,
        revocation_keys: &[u128],
        limits: ResumeLimits,
        now: Instant,
    ) -> Result<Vec<Kept>, Gap> {
        let mut catch_up = self.catch_up(cursor, selection, revocation_keys, limits, now)?;
        self.next(&mut catch_up, usize::MAX, usize::MAX, now)
    }

    /// Fails if a reader may not begin at the cursor.
    fn admit(
        &mut self,
        cursor: EventPosition,
        selection: &Selection,
        revocation_keys: &[u128],
        now: Instant,
    ) -> Result<(), Gap> {
        self.evict_some(now);
        if self.is_revoked_since(cursor, revocation_keys) {
            return Err(Gap::Revoked);
        }
        self.check(cursor, selection)
    }

    /// Fails if these are more than a reader may have missed.
    fn limit(&self, found: &[Found], limits: ResumeLimits) -> Result<(), Gap> {
        let bytes = found.iter().filter_map(|found| Some(self.entries.get(found.number)?.json.len()));
        match found.len() > limits.events || bytes.sum::<usize>() > limits.bytes {
            true => Err(Gap::TooMany),
            false => Ok(()),
        }
    }

    fn evict_some(&mut self, now: Instant) {
        self.clock.at(now);
        self.remove_expired(EXPIRED_AT_ONCE);
    }

    /// Fails if not everything after the cursor is in the ring.
    fn check(&self, cursor: EventPosition, selection: &Selection) -> Result<(), Gap> {
        if cursor > self.last {
            // An id of a copy of this series: a machine that was set back.
            return Err(Gap::Restarted);
        }
        if cursor < self.complete_since || self.has_expired_after(cursor) {
            return Err(Gap::Expired);
        }
        self.dropped.check(cursor, selection.types.iter().map(|of_type| of_type.key))
    }

    /// Returns `true` if the first entry after a position is too old, and was not removed yet.
    fn has_expired_after(&self, position: EventPosition) -> bool {
        let is_past = |entry: &Entry| self.clock.is_past(entry.at);
        if !self.entries.front().is_some_and(is_past) {
            return false;
        }
        let at = |offset: usize| self.entries.nth(offset);
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match at(middle) {
                Some(entry) if entry.position <= position => low = middle + 1,
                _ => high = middle,
            }
        }
        at(low).is_some_and(is_past)
    }

    /// Remembers the first of the entries that were found up to the newest one.
    fn remember(&self, catch_up: &mut CatchUp, mut found: Vec<Found>) {
        let window = WINDOW.max(found.len() / PART_OF_FOUND);
        catch_up.known_to = self.last;
        if found.len() > window {
            found.truncate(window);
            let last = found.last().and_then(|found| self.entries.get(found.number));
            catch_up.known_to = last.map_or(catch_up.position, |entry| entry.position);
        }
        found.reverse();
        found.shrink_to_fit();
        catch_up.window = found;
    }
}

impl fmt::Debug for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatchUp").field("position", &self.position).finish_non_exhaustive()
    }
}
