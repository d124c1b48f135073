//! Who opened a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

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

/// A client in less memory: every connection has one.
#[derive(Clone)]
pub(crate) struct CompactClient {
    address: CompactAddress,
    user_agent: Option<Box<str>>,
}

/// An address without the flow label of IPv6 (RFC 6437), which names no one.
#[derive(Clone, Copy)]
enum CompactAddress {
    V4(Ipv4Addr, u16),
    V6(Ipv6Addr, u16, u32),
}

impl From<Client> for CompactClient {
    fn from(Client { address, user_agent }: Client) -> Self {
        let address = match address {
            SocketAddr::V4(address) => CompactAddress::V4(*address.ip(), address.port()),
            SocketAddr::V6(address) => CompactAddress::V6(*address.ip(), address.port(), address.scope_id()),
        };
        Self { address, user_agent }
    }
}

impl From<&CompactClient> for Client {
    fn from(CompactClient { address, user_agent }: &CompactClient) -> Self {
        let address = match *address {
            CompactAddress::V4(ip, port) => (IpAddr::V4(ip), port).into(),
            CompactAddress::V6(ip, port, scope) => SocketAddrV6::new(ip, port, 0, scope).into(),
        };
        Self { address, user_agent: user_agent.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_what_it_is() {
        for address in ["127.0.0.1:80", "[::1]:8080", "[fe80::1%3]:65535", "[::ffff:10.0.0.1]:1"] {
            let client = Client { address: address.parse().unwrap(), user_agent: None };
            let compact = CompactClient::from(client.clone());
            assert_eq!(Client::from(&compact).address, client.address, "{address}");
        }
        assert!(size_of::<CompactAddress>() <= 24, "{}", size_of::<CompactAddress>());
    }
}
