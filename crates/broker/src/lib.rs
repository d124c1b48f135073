//! Events from message brokers.
//!
//! Each broker is a file of its own, behind a feature: a [`node::Source`] that connects, receives
//! messages and reads them as events. What is the same for all of them, publishing and counting, is
//! in `intake.rs`. This room knows neither HTTP nor sessions.

#![cfg_attr(not(feature = "nats"), expect(dead_code, reason = "what brokers share, without a broker"))]

mod intake;
mod metrics;
#[cfg(feature = "nats")]
pub mod nats;

pub use intake::Intake;
pub use metrics::Metrics;
