//! A simulator of the protocol: several [`Core`](crate::core::Core)s, an operator and clients at
//! each, and a model of NATS, under faults that a seed chooses.
//!
//! Everything is one thread and one queue of events, so the same seed gives the same run, byte for
//! byte. Clients are adversarial: a session connects wherever it is let in, and each instant at
//! which a node could write payload counts as a write. That judges more than a writer each few
//! milliseconds would, and costs no events.
//!
//! | file | what it models |
//! | --- | --- |
//! | `plan.rs` | which faults happen, and what operators ask for |
//! | `stream.rs` | the stream, and replicas of it that lag behind |
//! | `network.rs` | servers, links, requests and their outcomes |
//! | `log.rs` | what a node keeps, and loses in a crash |
//! | `driver.rs` | what the gateway does with the actions of the core |
//! | `world.rs` | the queue of events, and the faults |
//! | `judge.rs` | the invariants |

mod driver;
mod judge;
mod log;
mod network;
mod plan;
mod stream;
mod tests;
mod world;

/// A time of the simulator in microseconds: what an ideal clock shows.
type Micros = u64;

const MILLIS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// NATS servers.
const SERVERS: usize = 3;
