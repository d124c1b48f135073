//! Keeps web pages out of the internal port, whatever they request (related to d18).
//!
//! An operator's browser can reach ports that web pages cannot, and sends requests there for any
//! page. So a request is judged by the page that makes it, and by the host that it names: if the
//! host of a page was made to resolve to this port (DNS rebinding), the browser considers page and
//! port to be of the same origin.

use std::net::{IpAddr, Ipv6Addr};

use auth::{Sender, hosts, split_port};
use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, Method, Request};
use listener::{LogLimiter, Peer};

use crate::metrics::Metrics;
use crate::turned_away::TurnedAway;

/// The page of the Swagger UI, in every spelling of its path.
const PAGE: [&str; 3] = ["/swagger-ui", "/swagger-ui/", "/swagger-ui/index.html"];

/// The media types that a page can post to any server without a preflight (Fetch Standard, section
/// 2.2.2).
const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/// Decides which requests are refused.
pub(crate) struct Door {
    /// `HOST`, if host names are checked. `None` if callers present a token, which no page has.
    host: Option<Box<str>>,
    metrics: Metrics,
}

static LOG: LogLimiter = LogLimiter::new();

impl Door {
    /// `host` is the value of `HOST`; `guarded` means that callers must present a token.
    pub(crate) fn new(host: &str, guarded: bool, metrics: Metrics) -> Self {
        Self { host: (!guarded).then(|| host.trim_end_matches('.').into()), metrics }
    }

    /// Returns why a request must be refused; `None` if it need not be. Counts and logs refusals.
    pub(crate) fn refusal<B>(&self, request: &Request<B>, peer: &Peer) -> Option<TurnedAway> {
        let reason = self.check(request, peer).err()?;
        self.metrics.refused(reason);
        if LOG.allows() {
            tracing::warn!(client = %peer.address, %reason, "request refused by the internal port");
        }
        Some(reason)
    }

    fn check<B>(&self, request: &Request<B>, peer: &Peer) -> Result<(), TurnedAway> {
        let (uri, headers) = (request.uri(), request.headers());
        if let Some(name) = &self.host
            && !hosts(uri, headers).all(|host| is_of_this_port(host, name, peer.local.ip()))
        {
            return Err(TurnedAway::Host);
        }
        match Sender::of(uri, headers, peer.secure) {
            Sender::Unnamed => Ok(()),
            Sender::Own if is_form(headers) => Err(TurnedAway::Form),
            Sender::Own => Ok(()),
            Sender::Hidden if opens_the_page(request) => Ok(()),
            Sender::Page(_) | Sender::Hidden => Err(TurnedAway::Page),
        }
    }
}

/// Returns whether no foreign page can have this host: it is a loopback name or address, or the
/// operator's `HOST`, or `local`, the address that the connection was made to. An address cannot be
/// made to resolve elsewhere.
fn is_of_this_port(host: &[u8], given: &str, local: IpAddr) -> bool {
    let Ok(name) = str::from_utf8(split_port(host).0) else { return false };
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().map(IpAddr::from).ok(),
        None => name.parse().ok(),
    };
    if let Some(address) = address.map(|address| address.to_canonical()) {
        return address.is_loopback() || address == local.to_canonical() || name == given;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    // RFC 6761, section 6.3: these never leave the machine.
    let is_localhost = name.rsplit('.').next().is_some_and(|top| top.eq_ignore_ascii_case("localhost"));
    is_localhost || (!name.is_empty() && name.eq_ignore_ascii_case(given))
}

/// Returns whether the user follows a link to the Swagger UI: this changes nothing, and reveals
/// nothing to the page with the link.
fn opens_the_page<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    request.method() == Method::GET
        && PAGE.contains(&request.uri().path())
        && !headers.contains_key(ORIGIN)
        && says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence =
            value.as_bytes().split(|byte| *byte == b';' || *byte == b',').next().unwrap_or_default();
        FORMS.iter().any(|form| essence.trim_ascii().eq_ignore_ascii_case(form.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f62_only_names_of_this_port_are_taken() {
        let local = IpAddr::from([10, 1, 2, 3]);
        let is_taken = |host: &str| is_of_this_port(host.as_bytes(), "rig.example", local);
        for host in [
            "localhost",
            "LOCALHOST:4010",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:4010",
            "127.8.9.10",
            "[::1]:4010",
            "[::ffff:127.0.0.1]",
            "rig.example",
            "Rig.Example.:4010",
            "10.1.2.3:4010",
        ] {
            assert!(is_taken(host), "{host}");
        }
        for host in [
            "",
            ":4010",
            "evil.test",
            "localhost.evil.test",
            "evil-localhost",
            "127.0.0.1.evil.test",
            "127.0.0.1.nip.io:4010",
            "rig.example.evil.test",
            "x.rig.example",
            "10.1.2.4",
            "0.0.0.0:4010",
            "[::]",
            "[::2]",
            "::1",
            "localhost..",
        ] {
            assert!(!is_taken(host), "{host}");
        }
    }
}
