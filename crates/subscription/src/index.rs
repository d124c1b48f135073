//! Finds the subscribers of an event. The cost depends on the number of its receivers, not on the
//! number of all subscribers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use event::Event;
use json::ValueKey;
use parking_lot::RwLock;

use crate::extractors::Extractors;

#[cfg(test)]
mod churn;
mod interest;
mod of_type;
#[cfg(test)]
mod tests;
mod wanted;

pub use interest::Interest;
pub use wanted::{Conjunction, FieldAt, Wanted, wanted_by_type};

use of_type::TypeIndex;

/// All subscriptions, by event type, field and value. `S` identifies a subscriber for the caller.
/// It is cloned under a lock, so cloning should be cheap and must not call the index. It is never
/// dropped under a lock.
///
/// No lock is held while another one is taken, or while JSON is parsed. The lock of all types is
/// held only for a hash look-up; each type has its own lock.
pub struct Index<S> {
    extractors: Arc<Extractors>,
    types: RwLock<HashMap<Arc<str>, Arc<TypeIndex<S>>>>,
    /// Identifies subscribers, whatever `S` is.
    next_owner: AtomicU64,
    subscriptions: AtomicUsize,
    given_up: OnceLock<GivenUp>,
}

/// Called with the name of a type whose last subscriber has left.
type GivenUp = Box<dyn Fn(&Arc<str>) + Send + Sync>;

impl<S: Clone> Index<S> {
    /// Creates an index without subscriptions.
    pub fn new(extractors: Arc<Extractors>) -> Arc<Self> {
        Arc::new(Self {
            extractors,
            types: RwLock::default(),
            next_owner: AtomicU64::new(0),
            subscriptions: AtomicUsize::new(0),
            given_up: OnceLock::new(),
        })
    }

    /// Returns the subscribers of an event, each once, in no order. An event of a type without
    /// subscribers costs one look-up; its JSON is parsed only if a subscriber wants a value.
    pub fn matches(&self, event: &Event) -> Vec<S> {
        let of_type = self.types.read().get(event.event_type()).cloned();
        let Some(of_type) = of_type else { return Vec::new() };
        if let Some(found) = of_type.unconstrained_only() {
            return found;
        }
        // Extracted without a lock. Subscriptions made meanwhile are matched as well, since the
        // look-up follows.
        of_type.matching(&self.extractors.values(event.event_type(), event.json()))
    }

    /// Returns what [`Index::matches`] does, for a caller that has the [values](Extractors::values)
    /// of the event already.
    pub fn matches_values(&self, event_type: &str, values: &[Option<ValueKey>]) -> Vec<S> {
        let of_type = self.types.read().get(event_type).cloned();
        of_type.map_or_else(Vec::new, |of_type| of_type.matching(values))
    }
}

impl<S: Clone> Index<S> {
    /// Returns all subscribers of a type, whatever they constrain, each once, in no order.
    pub fn subscribers(&self, event_type: &str) -> Vec<S> {
        let of_type = self.types.read().get(event_type).cloned();
        of_type.map_or_else(Vec::new, |of_type| of_type.all())
    }
}

impl<S> Index<S> {
    /// Sets what is called when the last subscriber of a type has left; once. Until it returns,
    /// [`Index::has`] still returns `true` for the type. It must not call the index.
    ///
    /// # Panics
    /// Panics if it was set before.
    pub fn on_given_up(&self, given_up: impl Fn(&Arc<str>) + Send + Sync + 'static) {
        assert!(self.given_up.set(Box::new(given_up)).is_ok(), "it is set in one place");
    }

    /// Returns `true` if a type has subscriptions now.
    pub fn has(&self, event_type: &str) -> bool {
        self.types.read().contains_key(event_type)
    }

    /// Returns the number of current subscriptions as they were given, duplicates included.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Returns the types of events that have subscriptions now.
    pub fn event_types(&self) -> Vec<Arc<str>> {
        self.types.read().keys().cloned().collect()
    }

    /// Returns the extractors that constraints use.
    pub fn extractors(&self) -> &Arc<Extractors> {
        &self.extractors
    }

    /// Returns the index of a type; creates it if there is none.
    fn of_type(&self, event_type: &str) -> Arc<TypeIndex<S>> {
        if let Some(of_type) = self.types.read().get(event_type) {
            return of_type.clone();
        }
        let mut types = self.types.write();
        if let Some(of_type) = types.get(event_type) {
            return of_type.clone();
        }
        let name: Arc<str> = event_type.into();
        let of_type = Arc::new(TypeIndex::new(name.clone()));
        types.insert(name, of_type.clone());
        of_type
    }

    /// Removes a retired type, but not one that has replaced it.
    fn forget(&self, retired: &Arc<TypeIndex<S>>) {
        let mut types = self.types.write();
        if let Some((name, of_type)) = types.get_key_value(retired.name())
            && Arc::ptr_eq(of_type, retired)
        {
            self.given_up.get().inspect(|given_up| given_up(name));
            types.remove(retired.name());
            shrink(&mut types);
        }
    }
}

/// Frees memory after many removals, at an amortized cost of O(1) for each of them.
fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>) {
    const SMALL: usize = 64;
    if map.capacity() > SMALL && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
