//! Revocations, reported to a web hook and to topics: which reports come, how often and in which
//! order, whatever the receiver does.

mod delivery;
mod reports;
mod targets;
mod world;
