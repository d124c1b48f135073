//! A log that keeps everything and knows nothing of chains: what a ring must do, in the simplest
//! way.

use std::time::Duration;

use subscription::{Index, Subscription};

use super::*;

/// What took a position.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    Event(Event),
    /// An event of this type that was not kept.
    Counted(String),
    /// A loss of this type, or of all.
    Lost(Option<String>),
    Revoked(u128),
}

/// All positions since the start, and when they were taken.
#[derive(Default)]
pub(super) struct Model {
    taken: Vec<(Taken, Duration)>,
    /// Types that were absent, and the latest position then.
    absent: Vec<(String, u64)>,
    pub(super) elapsed: Duration,
}

impl Model {
    pub(super) fn take(&mut self, taken: Taken) -> EventPosition {
        self.taken.push((taken, self.elapsed));
        EventPosition(self.taken.len() as u64)
    }

    pub(super) fn absent(&mut self, event_type: &str) {
        self.absent.push((event_type.to_owned(), self.last()));
    }

    pub(super) fn last(&self) -> u64 {
        self.taken.len() as u64
    }

    /// Returns the newest position that was removed from a ring that has `kept` events, for
    /// whatever reason.
    pub(super) fn removed(&self, kept: usize) -> u64 {
        let is_event = |taken: &Taken| matches!(taken, Taken::Event(_));
        let event = self.positions(is_event).rev().nth(kept);
        let is_revocation = |taken: &Taken| matches!(taken, Taken::Revoked(_));
        let old = |position: &u64| self.is_old(*position);
        let revocation = self.positions(is_revocation).rev().find(old);
        event.unwrap_or(0).max(revocation.unwrap_or(0))
    }

    /// Returns the number of events that may be removed only if there is no room for them.
    pub(super) fn recent_events(&self) -> usize {
        self.positions(|taken| matches!(taken, Taken::Event(_))).filter(|at| !self.is_old(*at)).count()
    }

    /// Returns what a reader must get from a ring that has removed everything up to `removed`.
    pub(super) fn since(
        &self,
        cursor: u64,
        removed: u64,
        subscriptions: &[Subscription],
        extractors: &Arc<Extractors>,
        keys: &[u128],
    ) -> Result<Vec<(u64, Event)>, Gap> {
        let missed = || (cursor + 1..).zip(self.taken.iter().skip(cursor as usize));
        let wants = |name: &str| subscriptions.iter().any(|one| one.event_type() == name);
        let is_revoked = missed().any(|(position, (taken, _))| match taken {
            Taken::Revoked(key) => keys.contains(key) && !self.is_old(position),
            _ => false,
        });
        if is_revoked {
            return Err(Gap::Revoked);
        }
        if cursor < removed {
            return Err(Gap::Expired);
        }
        if missed().any(|(_, (taken, _))| matches!(taken, Taken::Lost(None))) {
            return Err(Gap::Lost);
        }
        // If several types lack something, any of the reasons will do.
        let lost = missed().any(|(_, (taken, _))| matches!(taken, Taken::Lost(Some(name)) if wants(name)));
        let counted = missed().any(|(_, (taken, _))| matches!(taken, Taken::Counted(name) if wants(name)));
        let absent = self.absent.iter().any(|(name, last)| cursor <= *last && wants(name));
        if lost || counted || absent {
            return Err(if lost { Gap::Lost } else { Gap::Expired });
        }
        Ok(self.selected(cursor, subscriptions, extractors))
    }

    /// Returns the events after a cursor that subscriptions select.
    pub(super) fn selected(
        &self,
        cursor: u64,
        subscriptions: &[Subscription],
        extractors: &Arc<Extractors>,
    ) -> Vec<(u64, Event)> {
        let index = Index::new(extractors.clone());
        let _interest = index.subscribe((), subscriptions);
        let missed = (cursor + 1..).zip(self.taken.iter().skip(cursor as usize));
        let events = missed.filter_map(|(position, (taken, _))| match taken {
            Taken::Event(event) => Some((position, event.clone())),
            _ => None,
        });
        events.filter(|(_, event)| !index.matches(event).is_empty()).collect()
    }

    fn positions(&self, wanted: impl Fn(&Taken) -> bool) -> impl DoubleEndedIterator<Item = u64> {
        let positions = self.taken.iter().enumerate();
        positions.filter(move |(_, (taken, _))| wanted(taken)).map(|(at, _)| at as u64 + 1)
    }

    fn is_old(&self, position: u64) -> bool {
        self.elapsed - self.taken[position as usize - 1].1 > AGE
    }
}
