//! The inbound port: the interface of the gateway for frontends (RIG: port 4000).
//!
//! This crate turns requests into connections, subscriptions and events, and errors into answers;
//! one file maps errors to statuses ([`error`]). It does not know how bytes are sent (listener),
//! whether a token is valid (auth), or how an event finds its connections (connection).

mod answer;
mod connect;
mod error;
mod events;
mod identity;
mod longpolling;
mod poll_cookies;
mod port;
mod rate;
mod relay;
mod resume;
mod routes;
mod sse;
mod subscriptions;
mod websocket;

pub use port::{Config, Parts};
pub use routes::Inbound;
