//! Clients at little cost: requests are written as they are, of answers only the heads are read,
//! events are counted.

mod blocks;
mod crowd;
mod entrance;
mod frames;
mod h2;
mod http;
mod longpolling;
mod pipeline;
mod process;
mod reader;
mod received;
mod slow;
mod subscriber;
mod throng;
mod tls;
mod variant;
mod witness;

pub(crate) use blocks::{Counts, Seen};
pub(crate) use crowd::Crowd;
pub(crate) use entrance::Entrance;
pub(crate) use http::{Publisher, get};
pub(crate) use pipeline::publish_all;
pub(crate) use process::{CONNECTED, ClientProcess};
pub(crate) use reader::Reader;
pub(crate) use slow::SlowReaders;
pub(crate) use subscriber::{look_in, visit};
pub(crate) use throng::Throng;
pub(crate) use tls::Trust;
pub(crate) use variant::{Variant, Way};
pub(crate) use witness::Witness;
