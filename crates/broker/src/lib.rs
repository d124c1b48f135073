//! Events from message brokers, and to them.
//!
//! Each broker is a module of its own, behind a feature: a [`node::Source`] that connects, receives
//! messages and reads them as events, and a [`Producer`] that sends events. What is the same for
//! all of them is in `intake.rs` (publishing and counting what comes), `lifecycle.rs` (a client
//! that runs until the gateway stops) and `target.rs` (requests of the proxy as events). This room
//! knows neither connections of clients nor sessions.

#![cfg_attr(
    not(any(feature = "kafka", feature = "kinesis", feature = "nats")),
    expect(dead_code, reason = "what brokers share, without a broker")
)]

mod answer;
mod check;
mod intake;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
mod lifecycle;
mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
mod producer;
#[cfg(feature = "kafka")]
mod request_log;
mod target;
mod targets;

pub use answer::{CORRELATION, InvalidAnswer, RESPONSE_CODE, answer_of};
pub use check::Finding;
pub use intake::Intake;
pub use metrics::{IsUp, Metrics, ResponseOutcome};
pub use producer::{Destination, ProduceError, Produced, Producer, Reply, Requester};
#[cfg(feature = "kafka")]
pub use request_log::{Pseudonym, RequestLog, RequestLogConfig};
pub use targets::{BrokerTargets, Producers, Receives};
