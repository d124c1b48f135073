//! The internal port: what operators and services see of the gateway (RIG: port 4010).
//!
//! The room turns HTTP requests into calls on the session, connection and proxy rooms. It knows who may ask (a bearer
//! token) and how the answers look; it decides nothing about sessions and counts nothing itself. `/v4` is ours; `/v2` and `/v3` are
//! RIG's, thin over the same [`node::Node`].

mod access;
mod answer;
mod apis;
mod aside;
mod body;
mod door;
mod health;
mod messages;
mod metrics;
mod openapi;
mod params;
mod port;
mod responses;
mod routes;
mod scrape;
mod session_blacklist;
#[cfg(test)]
mod testing;
mod turned_away;
mod v4;
mod wording;

pub use access::ApiToken;
pub use routes::{Admin, Config, Parts};
