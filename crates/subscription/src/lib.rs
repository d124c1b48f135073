//! Who wants which event: extractors, constraints, and the index that leads an event to its subscribers.
//!
//! The room knows event types, fields and values. It knows no connections (a subscriber is whatever the caller puts in)
//! and does no I/O.

mod extractors;
mod index;
mod subscription;
mod value;

pub use extractors::{Extractors, ExtractorsError};
pub use index::{Index, Interest};
pub use subscription::{Subscription, SubscriptionError};
