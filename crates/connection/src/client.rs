//! Who opened a connection.

use std::net::SocketAddr;

/// Who opened a connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// Its `User-Agent` header, cut to [`Client::USER_AGENT`] bytes.
    pub user_agent: Option<Box<str>>,
}

impl Client {
    /// The longest user agent that is kept, in bytes.
    pub const USER_AGENT: usize = 200;
}
