//! Clients at little cost: requests are written as they are, of answers only the heads are read, events are counted.

mod crowd;
mod frames;
mod http;
mod subscriber;
mod throng;

pub(crate) use crowd::Crowd;
pub(crate) use http::{Publisher, get};
pub(crate) use throng::Throng;
