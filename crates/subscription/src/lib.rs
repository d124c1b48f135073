//! Subscriptions to events: extractors, constraints, and the index that finds the subscribers of an
//! event.
//!
//! This crate knows event types, fields of events, claims of tokens, and the values that
//! subscribers want. It does not know connections (the caller chooses the type of a subscriber),
//! verifies no tokens, does not check whether a subscription is allowed, and does no I/O.

mod extractors;
mod index;
mod subscription;

pub use extractors::{ExtractorMistake, Extractors, ExtractorsError};
pub use index::{Conjunction, FieldAt, Index, Interest, Wanted, wanted_by_type};
pub use subscription::{
    MAX_CLAUSES, MAX_EVENT_TYPE, MAX_SUBSCRIPTIONS, MAX_VALUE, Subscription, SubscriptionError,
    SubscriptionFault,
};
