//! Where the gateway may connect on behalf of an issuer.
//!
//! The operator names some hosts. Others come from documents that the issuer serves, and could
//! point into the network of the gateway (server-side request forgery). So each address is checked
//! after it was resolved, and the gateway connects to the addresses that were checked.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;

/// Limit of the addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// What a client may connect to.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The host of the issuer, with its port. Its other ports belong to it, too.
    issuer: Option<(String, u16)>,
    /// The other hosts that the operator has named, each with its port: the port beside it may be
    /// another service's.
    named: Vec<(String, u16)>,
    /// Whether these may be reached without TLS, wherever they are.
    insecure_http: bool,
}

/// Why a URI is not connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("neither https nor http")]
    Scheme,
    #[error("no host")]
    NoHost,
    #[error("a user name or password in a URI is not supported")]
    UserInfo,
    #[error("{0} is not named by the settings, so https is required")]
    OtherWithoutTls(String),
    #[error("http is allowed only to loopback addresses; {0} is at {1} (insecure_http allows it)")]
    WithoutTls(String, IpAddr),
    #[error("{0} is at {1}, a {2} address; the settings must name it, or another host at such an address")]
    Place(String, IpAddr, Place),
    #[error("{0} cannot be resolved: {1}")]
    Unresolved(String, String),
}

/// Which network an address belongs to (the IANA registries of special-purpose addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Public,
    Loopback,
    LinkLocal,
    /// RFC 1918, RFC 4193, and the shared addresses of RFC 6598.
    Private,
    /// For something else than connections to a server.
    Reserved,
}

impl Reach {
    /// Creates the rule for the issuer, and the hosts of other URIs that the operator has named.
    pub(crate) fn new(issuer: Option<&Uri>, named: &[Uri], insecure_http: bool) -> Self {
        let named = named.iter().filter_map(host_and_port).collect();
        Self { issuer: issuer.and_then(host_and_port), named, insecure_http }
    }

    fn names(&self, place: &(String, u16)) -> bool {
        self.issuer.as_ref().is_some_and(|(issuer, _)| *issuer == place.0) || self.named.contains(place)
    }

    /// Returns the addresses to connect to.
    ///
    /// # Errors
    /// Fails if none of them may be connected to, or the name cannot be resolved.
    pub(crate) async fn addresses(&self, uri: &Uri) -> Result<Vec<SocketAddr>, AddressError> {
        self.resolved(uri, look_up).await
    }

    /// The same with another resolver.
    async fn resolved<R>(
        &self,
        uri: &Uri,
        resolve: impl Fn(String, u16) -> R,
    ) -> Result<Vec<SocketAddr>, AddressError>
    where
        R: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(AddressError::Scheme),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(AddressError::UserInfo);
        }
        let place = host_and_port(uri).ok_or(AddressError::NoHost)?;
        let (is_named, (host, port)) = (self.names(&place), place);
        if !is_named && !is_secure {
            return Err(AddressError::OtherWithoutTls(host));
        }
        let resolved = resolve(host.clone(), port).await;
        let found = resolved.map_err(|error| AddressError::Unresolved(host.clone(), error.to_string()))?;
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            let place = Place::of(address.ip());
            if is_named && !is_secure && !self.insecure_http && place != Place::Loopback {
                refused = refused.or(Some(AddressError::WithoutTls(host.clone(), address.ip())));
            } else if is_named || place == Place::Public || self.is_at(place, &resolve).await {
                allowed.push(address);
            } else {
                refused = refused.or(Some(AddressError::Place(host.clone(), address.ip(), place)));
            }
        }
        match refused {
            Some(refused) if allowed.is_empty() => Err(refused),
            None if allowed.is_empty() => Err(AddressError::Unresolved(host, "no address".to_owned())),
            _ => Ok(allowed),
        }
    }

    /// Returns `true` if a host that the operator has named is at such an address: then the issuer
    /// belongs to that network anyway. The loopback and link-local addresses of one machine are no
    /// reason to allow the private ones of others.
    async fn is_at<R>(&self, place: Place, resolve: &impl Fn(String, u16) -> R) -> bool
    where
        R: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        for (host, port) in self.issuer.iter().chain(&self.named) {
            let found = resolve(host.clone(), *port).await.unwrap_or_default();
            if found.iter().any(|address| Place::of(address.ip()) == place) {
                return true;
            }
        }
        false
    }
}

/// Asks the system's resolver.
async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    Ok(found.take(MAX_ADDRESSES).collect())
}

/// Returns the host of a URI in a form that can be compared and resolved: lower case, without the
/// brackets of an IPv6 address and the dot at the end of a complete name.
fn host_and_port(uri: &Uri) -> Option<(String, u16)> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    (!host.is_empty()).then_some((host, port))
}

impl Place {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            // Connecting to 0.0.0.0 reaches the own machine.
            [0 | 127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Self::Private,
            // Protocol assignments, documentation, benchmarks, multicast, reserved, broadcast.
            [192, 0, 0 | 2, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let v4 = |high: u16, low: u16| {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Self::Loopback,
            // Addresses that contain an IPv4 address: compatible, translated (RFC 2765, RFC 6052),
            // 6to4. Those that are mapped are no longer here.
            [0, 0, 0, 0, 0, 0, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => v4(high, low),
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            // Unique local, formerly site-local, and translated for local use (RFC 8215).
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Self::Private,
            // Only 2000::/3 is in use; in it are Teredo and documentation.
            [0x2001, 0 | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Reserved,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Private => "private",
            Self::Reserved => "reserved",
        })
    }
}

#[cfg(test)]
mod tests;
