//! Subscriptions as the index files them: by event type, without duplicates.

use std::collections::BTreeMap;

use json::ValueKey;

use crate::extractors::{Extractors, Types};
use crate::subscription::{Clause, Subscription};

/// The position of a field among the extractors of its type.
pub type FieldAt = u32;

/// Values that must all match; never empty.
pub type Conjunction = Vec<(FieldAt, ValueKey)>;

/// The events of one type that a subscriber wants.
#[derive(Debug, PartialEq)]
pub enum Wanted {
    /// All of them.
    Everything,
    /// Events that match one of these, without duplicates.
    OneOf(Vec<Conjunction>),
}

/// Groups what these subscriptions want by event type. A constraint on a field that the extractors
/// do not have any more can match nothing, and is left out.
pub fn wanted_by_type<'s>(
    subscriptions: &'s [Subscription],
    extractors: &Extractors,
) -> BTreeMap<&'s str, Wanted> {
    let extractors = extractors.current();
    let mut types: BTreeMap<&str, Wanted> = BTreeMap::new();
    for subscription in subscriptions {
        let event_type = subscription.event_type();
        let wanted = types.entry(event_type).or_insert_with(|| Wanted::OneOf(Vec::new()));
        if subscription.one_of().iter().any(Clause::is_empty) || subscription.one_of().is_empty() {
            *wanted = Wanted::Everything;
        }
        if let Wanted::OneOf(clauses) = wanted {
            let possible = subscription.one_of().iter();
            clauses.extend(possible.filter_map(|clause| conjunction(clause, event_type, &extractors)));
        }
    }
    for wanted in types.values_mut() {
        if let Wanted::OneOf(clauses) = wanted {
            clauses.sort_unstable();
            clauses.dedup();
        }
    }
    types
}

/// Converts a clause; `None` if it can match nothing. A constraint on a field that these extractors
/// do not have must not be dropped: the rest would match more than the client asked for.
fn conjunction(clause: &Clause, event_type: &str, extractors: &Types) -> Option<Conjunction> {
    let fields = extractors.get(event_type)?;
    let mut conjunction = clause
        .iter()
        .map(|(field, value)| {
            let at = FieldAt::try_from(fields.position(field)?).ok()?;
            Some((at, ValueKey::of(value.clone())?))
        })
        .collect::<Option<Conjunction>>()?;
    conjunction.sort_unstable();
    Some(conjunction)
}
