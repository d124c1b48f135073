//! From an event to its subscribers, at a cost that follows the receivers and not the subscribers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use event::Event;
use parking_lot::RwLock;

use crate::extractors::Extractors;
use crate::subscription::Subscription;
use crate::value::Key;

/// All subscriptions. `S` is what the caller knows a subscriber by.
pub struct Index<S> {
    extractors: Arc<Extractors>,
    types: RwLock<HashMap<Arc<str>, TypeIndex<S>>>,
    next_id: AtomicU64,
}

/// The subscriptions to one event type.
struct TypeIndex<S> {
    /// Those that want every event, by the id of the entry.
    all: HashMap<u64, (u64, S)>,
    /// Those that want a value in a field.
    by_value: HashMap<(usize, Key), Bucket<S>>,
}

/// A conjunction filed under one of its fields.
struct Entry<S> {
    id: u64,
    owner: u64,
    subscriber: S,
    /// What else must match.
    rest: Box<[(usize, Key)]>,
}

/// Most values are wanted by one subscriber; those cost no map.
enum Bucket<S> {
    One(Entry<S>),
    Many(HashMap<u64, Entry<S>>),
}

/// Where an entry is filed, so that it can be taken out again.
struct Place {
    event_type: Arc<str>,
    id: u64,
    key: Option<(usize, Key)>,
}

impl<S: Clone> Index<S> {
    /// An index without subscriptions.
    pub fn new(extractors: Arc<Extractors>) -> Arc<Self> {
        Arc::new(Self { extractors, types: RwLock::default(), next_id: AtomicU64::new(0) })
    }

    /// Enters the subscriptions of a new subscriber; dropping the guard takes them out.
    pub fn subscribe(self: &Arc<Self>, subscriber: S, subscriptions: &[Subscription]) -> Interest<S> {
        let owner = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut interest = Interest { index: self.clone(), owner, subscriber, places: Box::default() };
        interest.replace(subscriptions);
        interest
    }

    /// The subscribers of an event, each once.
    pub fn matches(&self, event: &Event) -> Vec<S> {
        let types = self.types.read();
        let Some(of_type) = types.get(event.event_type()) else { return Vec::new() };
        let mut found: Vec<(u64, S)> = of_type.all.values().cloned().collect();
        if !of_type.by_value.is_empty()
            && let Some(extractors) = self.extractors.of_type(event.event_type())
        {
            let values: Vec<Option<Key>> = extractors
                .tree
                .extract(event.json())
                .iter()
                .map(|value| value.as_ref().and_then(Key::of))
                .collect();
            for (field, value) in values.iter().enumerate() {
                let Some(value) = value else { continue };
                if let Some(bucket) = of_type.by_value.get(&(field, value.clone())) {
                    bucket.matching(&values, &mut found);
                }
            }
        }
        drop(types);
        let mut seen = HashSet::with_capacity(found.len());
        found.retain(|(owner, _)| seen.insert(*owner));
        found.into_iter().map(|(_, subscriber)| subscriber).collect()
    }

    /// How many subscriptions there are; one with several clauses counts each of them.
    pub fn subscriptions(&self) -> usize {
        let types = self.types.read();
        types
            .values()
            .map(|of_type| of_type.all.len() + of_type.by_value.values().map(Bucket::len).sum::<usize>())
            .sum()
    }

    fn file(
        types: &mut HashMap<Arc<str>, TypeIndex<S>>,
        event_type: &str,
        mut clause: Vec<(usize, Key)>,
        (id, owner, subscriber): (u64, u64, S),
    ) -> Place {
        let name = match types.get_key_value(event_type) {
            Some((name, _)) => name.clone(),
            None => event_type.into(),
        };
        let of_type = types.entry(name.clone()).or_default();
        // Under the value that the fewest others want, so that the fewest events touch it.
        let size = |key: &(usize, Key)| of_type.by_value.get(key).map_or(0, Bucket::len);
        let Some(best) = (0..clause.len()).min_by_key(|at| size(&clause[*at])) else {
            of_type.all.insert(id, (owner, subscriber));
            return Place { event_type: name, id, key: None };
        };
        let key = clause.swap_remove(best);
        let entry = Entry { id, owner, subscriber, rest: clause.into() };
        match of_type.by_value.remove(&key) {
            None => of_type.by_value.insert(key.clone(), Bucket::One(entry)),
            Some(Bucket::One(first)) => {
                let both = HashMap::from([(first.id, first), (id, entry)]);
                of_type.by_value.insert(key.clone(), Bucket::Many(both))
            }
            Some(Bucket::Many(mut entries)) => {
                entries.insert(id, entry);
                of_type.by_value.insert(key.clone(), Bucket::Many(entries))
            }
        };
        Place { event_type: name, id, key: Some(key) }
    }
}

impl<S> Default for TypeIndex<S> {
    fn default() -> Self {
        Self { all: HashMap::new(), by_value: HashMap::new() }
    }
}

impl<S: Clone> Bucket<S> {
    fn matching(&self, values: &[Option<Key>], found: &mut Vec<(u64, S)>) {
        let mut take = |entry: &Entry<S>| {
            if entry.rest.iter().all(|(field, wanted)| values[*field].as_ref() == Some(wanted)) {
                found.push((entry.owner, entry.subscriber.clone()));
            }
        };
        match self {
            Self::One(entry) => take(entry),
            Self::Many(entries) => entries.values().for_each(take),
        }
    }
}

impl<S> Bucket<S> {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(entries) => entries.len(),
        }
    }
}

/// The subscriptions of one subscriber, taken out of the index when dropped.
#[must_use = "dropping it unsubscribes"]
pub struct Interest<S> {
    index: Arc<Index<S>>,
    owner: u64,
    subscriber: S,
    places: Box<[Place]>,
}

impl<S: Clone> Interest<S> {
    /// Replaces the subscriptions at once: an event that both the old and the new ones match is never missed (d21).
    pub fn replace(&mut self, subscriptions: &[Subscription]) {
        let index = self.index.clone();
        let mut types = index.types.write();
        let old = std::mem::take(&mut self.places);
        let mut places = Vec::new();
        for subscription in subscriptions {
            for clause in self.clauses(subscription) {
                let id = index.next_id.fetch_add(1, Ordering::Relaxed);
                let entry = (id, self.owner, self.subscriber.clone());
                places.push(Index::file(&mut types, subscription.event_type(), clause, entry));
            }
        }
        take_out(&mut types, &old);
        self.places = places.into();
    }

    /// The conjunctions of a subscription, an empty one where it wants every event.
    fn clauses(&self, subscription: &Subscription) -> Vec<Vec<(usize, Key)>> {
        let Some(extractors) = self.index.extractors.of_type(subscription.event_type()) else {
            return vec![Vec::new()];
        };
        let clauses = subscription.one_of().iter().map(|clause| {
            let keys = clause
                .iter()
                .filter_map(|(field, value)| Some((extractors.position(field)?, Key::of(value)?)));
            keys.collect()
        });
        let clauses: Vec<Vec<_>> = clauses.collect();
        if clauses.is_empty() { vec![Vec::new()] } else { clauses }
    }
}

impl<S> Drop for Interest<S> {
    fn drop(&mut self) {
        take_out(&mut self.index.types.write(), &self.places);
    }
}

fn take_out<S>(types: &mut HashMap<Arc<str>, TypeIndex<S>>, places: &[Place]) {
    for place in places {
        let Some(of_type) = types.get_mut(&place.event_type) else { continue };
        match &place.key {
            None => {
                of_type.all.remove(&place.id);
                if of_type.all.capacity() > 64 && of_type.all.len() < of_type.all.capacity() / 8 {
                    of_type.all.shrink_to_fit();
                }
            }
            Some(key) => {
                let empty = match of_type.by_value.get_mut(key) {
                    Some(Bucket::Many(entries)) => {
                        entries.remove(&place.id);
                        entries.is_empty()
                    }
                    Some(Bucket::One(entry)) => entry.id == place.id,
                    None => false,
                };
                if empty {
                    of_type.by_value.remove(key);
                }
            }
        }
        if of_type.all.is_empty() && of_type.by_value.is_empty() {
            types.remove(&place.event_type);
        }
    }
}

#[cfg(test)]
mod tests;
