//! Who opened a connection.

use std::net::SocketAddr;

/// Who opened a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it came from.
    pub address: SocketAddr,
    /// What it says it is: its `User-Agent`, cut to [`Client::USER_AGENT`] bytes.
    pub user_agent: Option<Box<str>>,
}

impl Client {
    /// The longest user agent that is kept, in bytes.
    pub const USER_AGENT: usize = 200;
}
