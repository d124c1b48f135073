//! Clients at little cost: requests are written as they are, of answers only the heads are read, events are counted.

mod crowd;
mod frames;
mod http;
mod pipeline;
mod slow;
mod subscriber;
mod throng;

pub(crate) use crowd::Crowd;
pub(crate) use http::{Publisher, get};
pub(crate) use pipeline::publish_all;
pub(crate) use slow::SlowReaders;
pub(crate) use subscriber::visit;
pub(crate) use throng::Throng;
