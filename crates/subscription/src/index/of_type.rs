//! The subscribers of one event type.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use json::ValueKey;
use parking_lot::RwLock;

use super::shrink;
use super::wanted::{Conjunction, FieldAt, Wanted};

/// Identifies a subscriber of the index.
pub(super) type Owner = u64;

pub(super) struct TypeIndex<S> {
    name: Arc<str>,
    filed: RwLock<Filed<S>>,
}

struct Filed<S> {
    /// The last subscriber has left, and the type has been removed from the index or is about to
    /// be: nothing may be filed here any more.
    retired: bool,
    /// Subscribers that want every event. They have no entries in `by_value`.
    everything: HashMap<Owner, S>,
    /// Subscribers that want values, by the position of the field and by value. Only as long as the
    /// highest field that was ever constrained. The keys are shared with the places, so that each
    /// value is stored once.
    by_value: Vec<HashMap<Arc<ValueKey>, Bucket<S>>>,
}

/// The filings under one value. Most values have a single subscriber and need no map.
#[expect(
    clippy::box_collection,
    reason = "an unboxed map would enlarge every bucket, and most hold one filing"
)]
enum Bucket<S> {
    One(FilingId, Filing<S>),
    Many(Box<HashMap<FilingId, Filing<S>>>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FilingId {
    owner: Owner,
    /// Distinguishes the conjunctions of one owner; [`ONLY`] if there is only one.
    slot: u32,
}

/// The slot of an owner's only conjunction, which cannot be found twice.
const ONLY: u32 = u32::MAX;

/// A conjunction, filed under one of its values.
struct Filing<S> {
    subscriber: S,
    /// The other values that must match.
    rest: Box<[(FieldAt, ValueKey)]>,
}

/// Where a conjunction is filed, so that it can be removed again.
pub(super) enum FilingPlace {
    Everything,
    Value { key: Arc<ValueKey>, field: FieldAt, slot: u32 },
}

/// The result of an exchange.
pub(super) struct Exchanged<S> {
    /// Where the new subscriptions are filed.
    pub(super) places: Vec<FilingPlace>,
    /// Subscribers as the old filings held them, for the caller to drop outside the lock.
    pub(super) gone: Vec<S>,
    /// No subscriber is left; the index must forget this type.
    pub(super) retired: bool,
}

impl<S> TypeIndex<S> {
    pub(super) fn new(name: Arc<str>) -> Self {
        let filed = Filed { retired: false, everything: HashMap::new(), by_value: Vec::new() };
        Self { name, filed: RwLock::new(filed) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Removes the old filings of an owner.
    pub(super) fn remove<'p>(
        &self,
        owner: Owner,
        old: impl Iterator<Item = &'p FilingPlace>,
    ) -> Exchanged<S> {
        let mut filed = self.filed.write();
        let gone = old.filter_map(|place| filed.take(owner, place)).collect();
        filed.retired = filed.is_empty();
        Exchanged { places: Vec::new(), gone, retired: filed.retired }
    }
}

impl<S: Clone> TypeIndex<S> {
    /// Replaces the old filings of an owner in one step, so that no event is missed in between
    /// (d21). Returns `None` if this type has retired and has no old filings.
    pub(super) fn exchange<'p>(
        &self,
        owner: Owner,
        subscriber: &S,
        old: impl Iterator<Item = &'p FilingPlace>,
        wanted: &Wanted,
    ) -> Option<Exchanged<S>> {
        let mut filed = self.filed.write();
        if filed.retired {
            return None;
        }
        let gone = old.filter_map(|place| filed.take(owner, place)).collect();
        let places = match wanted {
            Wanted::Everything => {
                filed.everything.insert(owner, subscriber.clone());
                vec![FilingPlace::Everything]
            }
            Wanted::OneOf(clauses) => {
                let only = clauses.len() == 1;
                let file = |(at, clause): (u32, &Conjunction)| {
                    let id = FilingId { owner, slot: if only { ONLY } else { at } };
                    filed.file(id, subscriber.clone(), clause.clone())
                };
                (0..).zip(clauses).map(file).collect()
            }
        };
        filed.retired = filed.is_empty();
        Some(Exchanged { places, gone, retired: filed.retired })
    }

    /// Returns all subscribers if none of them wants a value; `None` otherwise.
    pub(super) fn unconstrained_only(&self) -> Option<Vec<S>> {
        let filed = self.filed.read();
        let only = filed.by_value.iter().all(HashMap::is_empty);
        only.then(|| filed.everything.values().cloned().collect())
    }

    /// Returns all subscribers, each once.
    pub(super) fn all(&self) -> Vec<S> {
        let filed = self.filed.read();
        let mut all: HashMap<Owner, S> = filed.everything.clone();
        for bucket in filed.by_value.iter().flat_map(HashMap::values) {
            bucket.each(|id, filing| {
                all.entry(id.owner).or_insert_with(|| filing.subscriber.clone());
            });
        }
        all.into_values().collect()
    }

    /// Returns the subscribers of an event with these values, each once. A null or absent value is
    /// `None`.
    pub(super) fn matching(&self, values: &[Option<ValueKey>]) -> Vec<S> {
        let filed = self.filed.read();
        let mut found: Vec<S> = filed.everything.values().cloned().collect();
        let mut seen = HashSet::new();
        for (buckets, value) in filed.by_value.iter().zip(values) {
            let bucket = value.as_ref().and_then(|value| buckets.get(value));
            bucket.into_iter().for_each(|bucket| {
                bucket.each(|id, filing| {
                    if filing.matches(values) && (id.slot == ONLY || seen.insert(id.owner)) {
                        found.push(filing.subscriber.clone());
                    }
                });
            });
        }
        found
    }
}

impl<S> Filed<S> {
    fn is_empty(&self) -> bool {
        self.everything.is_empty() && self.by_value.iter().all(HashMap::is_empty)
    }

    /// Files a conjunction under the value with the fewest filings, so that as few events as
    /// possible have to check it.
    fn file(&mut self, id: FilingId, subscriber: S, mut clause: Conjunction) -> FilingPlace {
        let fields = clause.iter().map(|(field, _)| *field as usize + 1).max().unwrap_or(0);
        if fields > self.by_value.len() {
            self.by_value.resize_with(fields, HashMap::new);
        }
        let crowd = |(field, key): &(FieldAt, ValueKey)| {
            self.by_value[*field as usize].get(key).map_or(0, Bucket::len)
        };
        let best = (0..clause.len()).min_by_key(|at| crowd(&clause[*at]));
        let (field, key) = clause.swap_remove(best.expect("a conjunction is never empty"));
        let filing = Filing { subscriber, rest: clause.into() };
        let buckets = &mut self.by_value[field as usize];
        let key = match buckets.remove_entry(&key) {
            Some((key, bucket)) => {
                buckets.insert(key.clone(), bucket.with(id, filing));
                key
            }
            None => {
                let key = Arc::new(key);
                buckets.insert(key.clone(), Bucket::One(id, filing));
                key
            }
        };
        FilingPlace::Value { key, field, slot: id.slot }
    }

    fn take(&mut self, owner: Owner, place: &FilingPlace) -> Option<S> {
        let FilingPlace::Value { key, field, slot } = place else {
            let gone = self.everything.remove(&owner);
            shrink(&mut self.everything);
            return gone;
        };
        let buckets = &mut self.by_value[*field as usize];
        let (key, bucket) = buckets.remove_entry(key)?;
        let (gone, left) = bucket.without(FilingId { owner, slot: *slot });
        match left {
            Some(left) => {
                buckets.insert(key, left);
            }
            None => shrink(buckets),
        }
        gone
    }
}

impl<S> Bucket<S> {
    fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(filings) => filings.len(),
        }
    }

    fn with(self, id: FilingId, filing: Filing<S>) -> Self {
        match self {
            Self::One(first, other) => Self::Many(Box::new(HashMap::from([(first, other), (id, filing)]))),
            Self::Many(mut filings) => {
                filings.insert(id, filing);
                Self::Many(filings)
            }
        }
    }

    fn without(self, id: FilingId) -> (Option<S>, Option<Self>) {
        match self {
            Self::One(only, filing) if only == id => (Some(filing.subscriber), None),
            Self::One(..) => (None, Some(self)),
            Self::Many(mut filings) => {
                let gone = filings.remove(&id).map(|filing| filing.subscriber);
                if filings.len() > 1 {
                    shrink(&mut filings);
                    return (gone, Some(Self::Many(filings)));
                }
                (gone, filings.into_iter().next().map(|(id, filing)| Self::One(id, filing)))
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(&FilingId, &Filing<S>)) {
        match self {
            Self::One(id, filing) => visit(id, filing),
            Self::Many(filings) => filings.iter().for_each(|(id, filing)| visit(id, filing)),
        }
    }
}

impl<S> Filing<S> {
    fn matches(&self, values: &[Option<ValueKey>]) -> bool {
        // A field may be newer than the extractors that the values were extracted with.
        let value = |field: &FieldAt| values.get(*field as usize).and_then(Option::as_ref);
        self.rest.iter().all(|(field, wanted)| value(field) == Some(wanted))
    }
}

/// Accessors for tests.
#[cfg(test)]
impl<S> TypeIndex<S> {
    pub(super) fn is_free(&self) -> bool {
        self.filed.try_write().is_some()
    }

    pub(super) fn largest_bucket(&self) -> usize {
        let filed = self.filed.read();
        filed.by_value.iter().flat_map(HashMap::values).map(Bucket::len).max().unwrap_or(0)
    }

    /// Returns the number of entries that the maps have memory for.
    pub(super) fn room(&self) -> usize {
        let filed = self.filed.read();
        let buckets = filed.by_value.iter().flat_map(HashMap::values).map(|bucket| match bucket {
            Bucket::One(..) => 1,
            Bucket::Many(filings) => filings.capacity(),
        });
        filed.everything.capacity()
            + filed.by_value.iter().map(HashMap::capacity).sum::<usize>()
            + buckets.sum::<usize>()
    }
}
