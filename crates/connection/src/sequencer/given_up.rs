//! Types without subscribers whose events are kept, since a subscriber may come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use history::TypeKey;

/// The types whose last subscriber has left recently. Bounded: a client can subscribe to ever new
/// types, up to [`subscription::MAX_SUBSCRIPTIONS`] with each list, each of up to
/// [`subscription::MAX_EVENT_TYPE`] bytes.
///
/// If there are too many, those go first of which no event was kept: strange types have none. And
/// for a while, events of every type are kept, so that no client that is away for shorter misses
/// one because of others. (Those of other nodes are kept only if the type is here: its name says
/// what this node receives.)
pub(super) struct GivenUp {
    /// How long events are kept (`HISTORY`).
    age: Duration,
    /// Whether the names are needed, to receive the events of other nodes.
    has_names: bool,
    types: HashMap<TypeKey, Left>,
    /// Bytes of all types, with their share of the table.
    bytes: usize,
    /// Since when events of every type are kept.
    any_since: Option<Instant>,
}

struct Left {
    since: Instant,
    name: Option<Arc<str>>,
}

/// Bytes from which on some types are removed; 43,000 types without their names.
const MANY: usize = 4 << 20;
/// The limit of bytes. It is reached only if this many types leave before [`GivenUp::tidy`] is
/// called again.
const LIMIT: usize = 2 * MANY;
/// Bytes of a type beside its name, with its share of the table, which may be half empty.
const EACH: usize = 2 * size_of::<(TypeKey, Left)>();
/// How long events of every type are kept, at most. Clients come back within seconds after a
/// restart. For longer, types without subscribers could displace the others.
const ANY_TYPE: Duration = Duration::from_secs(120);

impl GivenUp {
    pub(super) fn new(age: Duration, has_names: bool) -> Self {
        Self { age, has_names, types: HashMap::new(), bytes: 0, any_since: None }
    }

    /// Keeps events of every type for a while.
    pub(super) const fn keep_any(&mut self, now: Instant) {
        self.any_since = Some(now);
    }

    /// Records that the last subscriber of a type has left.
    pub(super) fn insert(&mut self, key: TypeKey, name: &Arc<str>, now: Instant) {
        if let Some(left) = self.types.get_mut(&key) {
            left.since = now;
            return;
        }
        let left = Left { since: now, name: self.has_names.then(|| name.clone()) };
        let bytes = left.bytes();
        if self.bytes + bytes > LIMIT {
            self.keep_any(now);
            return;
        }
        self.bytes += bytes;
        self.types.insert(key, left);
    }

    /// Returns `true` if the last subscriber of a type has left recently.
    pub(super) fn has(&self, key: TypeKey, now: Instant) -> bool {
        self.types.get(&key).is_some_and(|left| left.is_recent(self.age, now))
    }

    /// Returns `true` if events of a type without subscribers are kept now.
    pub(super) fn keeps(&self, key: TypeKey, now: Instant) -> bool {
        self.is_any(now) || self.has(key, now)
    }

    /// Returns `true` if events of every type are kept now.
    fn is_any(&self, now: Instant) -> bool {
        self.any_since.is_some_and(|since| now.duration_since(since) <= self.age.min(ANY_TYPE))
    }

    /// Returns the names of all types whose last subscriber has left recently.
    pub(super) fn names(&self, now: Instant) -> Vec<Arc<str>> {
        let recent = self.types.values().filter(|left| left.is_recent(self.age, now));
        recent.filter_map(|left| left.name.clone()).collect()
    }

    /// Removes some if there are many. `has_events` says of which types events were kept; with the
    /// ring locked.
    pub(super) fn tidy(&mut self, has_events: impl Fn(TypeKey) -> bool, now: Instant) {
        if self.bytes <= MANY {
            return;
        }
        self.keep_any(now);
        self.retain(|key, _| has_events(key));
        if self.bytes > MANY / 2 {
            // There are really that many.
            let mut times: Vec<_> = self.types.values().map(|left| left.since).collect();
            let half = times.len() / 2;
            let (_, middle, _) = times.select_nth_unstable(half);
            let middle = *middle;
            self.retain(|_, left| left.since > middle);
        }
    }

    /// Removes those whose last subscriber has left too long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        let age = self.age;
        self.retain(|_, left| left.is_recent(age, now));
        let small = self.types.capacity() < 1024 || self.types.len() > self.types.capacity() / 4;
        if !small {
            self.types.shrink_to_fit();
        }
    }

    fn retain(&mut self, is_kept: impl Fn(TypeKey, &Left) -> bool) {
        let bytes = &mut self.bytes;
        self.types.retain(|key, left| {
            let is_kept = is_kept(*key, left);
            if !is_kept {
                *bytes -= left.bytes();
            }
            is_kept
        });
    }
}

impl Left {
    fn is_recent(&self, age: Duration, now: Instant) -> bool {
        now.duration_since(self.since) <= age
    }

    fn bytes(&self) -> usize {
        EACH + self.name.as_ref().map_or(0, |name| name.len() + 2 * size_of::<usize>())
    }
}

#[cfg(test)]
mod tests;
