//! A simulator of the protocol: several [`Core`](crate::core::Core)s, an operator and clients at
//! each, and a model of NATS, under faults that a seed chooses.
//!
//! Everything is one thread and one queue of events, so the same seed gives the same run, byte for
//! byte. Clients are adversarial: a session connects wherever it is let in, and each instant at
//! which a node could write payload counts as a write. That judges more than a writer each few
//! milliseconds would, and costs no events.
//!
//! NATS answers as its wire does: a fetch brings a page of what exists, an empty one says only what
//! lies before the first message, and messages expire by the clock of NATS, which steps. An hour of
//! the product is [`STEP`] here, or no schedule would see anything expire.
//!
//! Direct messages come again later, as the codec lets them: to the life that they were sent to, in
//! whatever epoch. In the stream a message counts on its own subject alone, so beats come again
//! there. An operation that somebody stores again on its subject is not in the model: it takes the
//! place of a later state of its id, which the protocol does not repair. The numbers of events are
//! checked in `events/tests.rs`, since events do not pass through the core.
//!
//! | file | what it models |
//! | --- | --- |
//! | `plan.rs` | which faults happen, and what operators ask for |
//! | `stream.rs` | the stream, and replicas of it that lag behind |
//! | `network.rs` | servers, links, requests and their outcomes |
//! | `log.rs` | what a node keeps, and loses in a crash |
//! | `driver.rs` | what the gateway does with the actions of the core |
//! | `orders.rs` | what operators ask for |
//! | `world.rs` | the queue of events |
//! | `faults.rs` | the faults |
//! | `judge.rs` | the invariants |

mod driver;
mod faults;
mod judge;
mod log;
mod network;
mod orders;
mod plan;
mod stream;
mod tests;
mod world;

/// A time of the simulator in microseconds: what an ideal clock shows.
type Micros = u64;

const MILLIS: Micros = 1_000;
const SECOND: Micros = 1_000_000;

/// How far the clock of NATS steps, and how much longer messages are kept for that reason.
const STEP: Micros = 4 * SECOND;

/// NATS servers.
const SERVERS: usize = 3;
