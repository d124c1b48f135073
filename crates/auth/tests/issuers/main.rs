//! Keys of issuers that are fetched from real servers.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod check;
mod client;
mod fetching;
mod files;
mod gateway;
mod introspection;
mod keys;
mod lists;
mod stub;
mod tls;
