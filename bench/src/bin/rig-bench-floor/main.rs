//! The floor: what anything costs that makes one write for each delivery.
//!
//! One thread, one epoll. It knows only what it cannot do without: who has subscribed, over which
//! transport, and the ready frame of an event, which it writes once to each. No sessions, no
//! filters, no heartbeats, no deadlines.

mod client;
mod floor;
mod wire;

use std::net::TcpListener;

/// Prints its address as a line, and serves until it is killed.
fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("{}", listener.local_addr()?);
    floor::Floor::new(listener)?.serve()
}
