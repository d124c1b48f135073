//! Who wants which event: extractors, constraints, and the index that leads an event to its
//! subscribers.
//!
//! The room knows event types, fields of events, claims of tokens, and which values of them
//! somebody waits for. It knows no connections (a subscriber is whatever the caller puts in),
//! verifies no tokens, does not ask whether a subscription is allowed, and does no I/O.

mod extractors;
mod index;
mod subscription;

pub use extractors::{ExtractorMistake, Extractors, ExtractorsError};
pub use index::{Index, Interest};
pub use subscription::{
    MAX_CLAUSES, MAX_EVENT_TYPE, MAX_SUBSCRIPTIONS, MAX_VALUE, Subscription, SubscriptionError,
    SubscriptionFault,
};
