//! The internal port: what operators and services see of the gateway (RIG: port 4010).
//!
//! This crate turns HTTP requests into calls on [`node::Node`] and the proxy. It knows who may call
//! what (tokens and certificates, each with rights) and the form of the answers; it decides nothing
//! about sessions. `/v4` is the gateway's own API; `/v2` and `/v3` are RIG's, a thin layer over the
//! same calls. Each file of endpoints declares its routes together with their OpenAPI descriptions.

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

pub use access::{Access, AccessEntry, ApiToken, ApiTokenError, Proof, Right, TokenFile, TokenFileError};
pub use routes::{Admin, Config, OperatedRooms};
