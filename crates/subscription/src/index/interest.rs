//! The guard of a subscriber: dropping it unsubscribes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Index;
use super::of_type::{FilingPlace, Owner, TypeIndex};
use super::wanted::{self, Wanted};
use crate::subscription::Subscription;

/// The subscriptions of one subscriber. Dropping it removes them from the index.
#[must_use = "dropping it unsubscribes"]
pub struct Interest<S> {
    index: Arc<Index<S>>,
    owner: Owner,
    subscriber: S,
    /// The number of subscriptions, as they were given.
    subscriptions: usize,
    /// Places of the same type are adjacent.
    places: Box<[(Arc<TypeIndex<S>>, FilingPlace)]>,
}

impl<S: Clone> Index<S> {
    /// Adds the subscriptions of a new subscriber. Until the returned value is dropped, every event
    /// that matches them finds the subscriber.
    pub fn subscribe(self: &Arc<Self>, subscriber: S, subscriptions: &[Subscription]) -> Interest<S> {
        let mut interest = Interest {
            index: self.clone(),
            owner: self.next_owner.fetch_add(1, Ordering::Relaxed),
            subscriber,
            subscriptions: 0,
            places: Box::default(),
        };
        interest.replace(subscriptions);
        interest
    }
}

impl<S: Clone> Interest<S> {
    /// Replaces the subscriptions, one event type after the other and each atomically: an event
    /// that both the old and the new subscriptions match is never missed (d21) and never found
    /// twice.
    pub fn replace(&mut self, subscriptions: &[Subscription]) {
        self.count(subscriptions.len());
        let index = self.index.clone();
        let mut places = Vec::new();
        let wanted = wanted::wanted_by_type(subscriptions, index.extractors());
        for (event_type, wanted) in &wanted {
            self.exchange(event_type, wanted, &mut places);
        }
        let given_up =
            self.places.chunk_by(same_type).filter(|of_type| !wanted.contains_key(of_type[0].0.name()));
        given_up.for_each(|of_type| self.remove(of_type));
        self.places = places.into();
    }

    fn exchange(
        &self,
        event_type: &str,
        wanted: &Wanted,
        places: &mut Vec<(Arc<TypeIndex<S>>, FilingPlace)>,
    ) {
        let exchanged = loop {
            let of_type = self.index.of_type(event_type);
            let old =
                self.places.iter().filter(|(place, _)| Arc::ptr_eq(place, &of_type)).map(|(_, place)| place);
            match of_type.exchange(self.owner, &self.subscriber, old, wanted) {
                Some(exchanged) => break (of_type, exchanged),
                // The last subscriber of the type has just left, and may not have removed the type
                // yet.
                None => self.index.forget(&of_type),
            }
        };
        let (of_type, exchanged) = exchanged;
        // The lock has been released.
        drop(exchanged.gone);
        if exchanged.retired {
            self.index.forget(&of_type);
        }
        places.extend(exchanged.places.into_iter().map(|place| (of_type.clone(), place)));
    }
}

impl<S> Interest<S> {
    /// Removes filings, all of one type.
    fn remove(&self, of_type: &[(Arc<TypeIndex<S>>, FilingPlace)]) {
        let Some((index, _)) = of_type.first() else { return };
        let exchanged = index.remove(self.owner, of_type.iter().map(|(_, place)| place));
        drop(exchanged.gone);
        if exchanged.retired {
            self.index.forget(index);
        }
    }

    fn count(&mut self, subscriptions: usize) {
        let total = &self.index.subscriptions;
        total.fetch_add(subscriptions, Ordering::Relaxed);
        total.fetch_sub(self.subscriptions, Ordering::Relaxed);
        self.subscriptions = subscriptions;
    }
}

impl<S> Drop for Interest<S> {
    fn drop(&mut self) {
        self.places.chunk_by(same_type).for_each(|of_type| self.remove(of_type));
        self.count(0);
    }
}

fn same_type<S>(
    (left, _): &(Arc<TypeIndex<S>>, FilingPlace),
    (right, _): &(Arc<TypeIndex<S>>, FilingPlace),
) -> bool {
    Arc::ptr_eq(left, right)
}
