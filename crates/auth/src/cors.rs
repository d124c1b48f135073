//! Which pages may read answers, and use the cookies of their users (Fetch Standard, section 3.3;
//! RIG: `CORS`).

use std::net::Ipv6Addr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::origin::{Sender, split_port};

/// Limit of the origins in `CORS`: each request of a page is compared with all of them.
const MAX_ORIGINS: usize = 64;

/// Limit of the headers of a preflight that are read.
const MAX_HEADERS: usize = 64;

/// Headers that libraries add to the requests of a page: trace context (W3C) and cache control.
const ADDED_BY_LIBRARIES: [&str; 8] = [
    "baggage",
    "cache-control",
    "last-event-id",
    "pragma",
    "traceparent",
    "tracestate",
    "x-request-id",
    "x-requested-with",
];

const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The value of `CORS`.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// The origins, as browsers write them. If empty, every page may read, and none may use
    /// cookies.
    origins: Box<[HeaderValue]>,
}

/// The value of `CORS` is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// `*` beside origins, or as part of one.
    #[error("* stands alone; a list names each origin in full")]
    Star,
    /// `null`.
    #[error("null is the origin of every sandboxed page and local file, so it cannot be trusted")]
    Null,
    /// A host name in another form than browsers send.
    #[error("entry {0} has a host outside ASCII: it must be written as browsers send it, in the form xn--…")]
    NotAscii(usize),
    /// Not an origin.
    #[error("entry {0} is not an origin")]
    NotAnOrigin(usize),
    /// More origins than are compared with each request.
    #[error("more than {MAX_ORIGINS} origins")]
    TooMany,
}

impl Cors {
    /// The headers that the gateway itself reads from requests of pages, for [`Cors::preflight`].
    pub const REQUEST_HEADERS: &str = "content-type,authorization";

    /// Parses `*`, or one or more origins separated by commas. Also returns those from which a
    /// trailing slash was removed: browsers never send one.
    ///
    /// # Errors
    /// Describes the first invalid entry.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), CorsError> {
        if text.trim() == "*" {
            return Ok((Self::default(), Vec::new()));
        }
        let (mut origins, mut with_slash) = (Vec::new(), Vec::new());
        for (index, entry) in text.split(',').map(str::trim).enumerate() {
            let origin = entry.strip_suffix('/').unwrap_or(entry);
            if origin.len() < entry.len() {
                with_slash.push(entry.to_owned());
            }
            let origin = normalized(origin, index + 1)?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        if origins.len() > MAX_ORIGINS {
            return Err(CorsError::TooMany);
        }
        Ok((Self { origins: origins.into() }, with_slash))
    }

    /// Returns whether every page may read answers (`*`).
    pub fn is_any(&self) -> bool {
        self.origins.is_empty()
    }

    /// Returns whether [`Cors::allow`] depends on the origin of the request.
    pub fn depends_on_origin(&self) -> bool {
        self.origins.len() > 1
    }

    /// Returns whether a page may use the cookies of its user: a page of the gateway's own origin,
    /// or of one in the list. With `*`, no other origin may.
    pub fn trusts(&self, sender: Sender<'_>) -> bool {
        match sender {
            Sender::Unnamed | Sender::Own => true,
            Sender::Page(origin) => self.origins.contains(origin),
            Sender::Hidden => false,
        }
    }

    /// As [`Cors::trusts`], for the handshake of a WebSocket, which no browser sends without an
    /// `Origin`.
    pub fn trusts_socket(&self, sender: Sender<'_>) -> bool {
        sender != Sender::Unnamed && self.trusts(sender)
    }

    /// Adds the headers that let pages read an answer. `asking` is the `Origin` of the request.
    /// Pages of an origin in the list may send cookies.
    pub fn allow(&self, asking: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let origin = match &*self.origins {
            [] => ANY,
            [only] => only.clone(),
            several => {
                answer.append(VARY, HeaderValue::from_static("origin"));
                let Some(origin) = several.iter().find(|origin| Some(*origin) == asking) else { return };
                origin.clone()
            }
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !self.is_any() {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    /// Adds the headers that let pages read an answer that depends on cookies bound to the
    /// requesting page.
    ///
    /// Browsers refuse `*` there, so the requesting origin is named instead. That is safe only
    /// because cookies of other pages do not count.
    pub fn allow_bound(&self, sender: Sender<'_>, asking: Option<&HeaderValue>, answer: &mut HeaderMap) {
        self.allow(asking, answer);
        if !self.is_any() {
            return;
        }
        if let Sender::Page(origin) = sender {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
        if sender != Sender::Hidden {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    /// Adds the headers of the answer to a preflight: the methods of an endpoint, the headers it
    /// reads (`names`), and of those that the preflight asks for, attributes of events in binary
    /// mode (`ce-…`) and headers added by libraries.
    pub fn preflight(asked: &HeaderMap, answer: &mut HeaderMap, methods: HeaderValue, names: &'static str) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let lines = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let asked =
            elements.take(MAX_HEADERS).filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        let mut allowed = names.to_owned();
        for name in asked.filter(|name| may_be_sent(name.as_str())) {
            if !allowed.split(',').any(|known| known == name.as_str()) {
                allowed = allowed + "," + name.as_str();
            }
        }
        let allowed = HeaderValue::from_str(&allowed).expect("names of headers are ASCII");
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }

    /// Returns the `Origin` of a request, for [`Cors::allow`].
    pub fn asking(request: &HeaderMap) -> Option<&HeaderValue> {
        request.get(ORIGIN)
    }
}

/// Returns whether every page may send this header, whether it is read or not.
fn may_be_sent(name: &str) -> bool {
    name.starts_with("ce-") || ADDED_BY_LIBRARIES.contains(&name)
}

/// Returns an origin as browsers write it (RFC 6454, section 6.2): in lower case, without the
/// default port. Errors refer to it by its number: an invalid origin may contain a password.
fn normalized(origin: &str, number: usize) -> Result<HeaderValue, CorsError> {
    let wrong = || CorsError::NotAnOrigin(number);
    if origin.eq_ignore_ascii_case("null") {
        return Err(CorsError::Null);
    }
    if origin.contains('*') {
        return Err(CorsError::Star);
    }
    let (scheme, address) = origin.split_once("://").ok_or_else(wrong)?;
    if !address.is_ascii() {
        return Err(CorsError::NotAscii(number));
    }
    let (scheme, address) = (scheme.to_ascii_lowercase(), address.to_ascii_lowercase());
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (host, port) = address.split_at(split_port(address.as_bytes()).0.len());
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().map_err(|_| wrong())?),
        None if host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\"\\:[]".contains(&byte)) => {
            host.to_owned()
        }
        None => return Err(wrong()),
    };
    if !is_scheme || host.is_empty() {
        return Err(wrong());
    }
    let port = match port.strip_prefix(':').unwrap_or_default() {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse::<u16>().map_err(|_| wrong())?)
        }
        _ => return Err(wrong()),
    };
    let port = port.filter(|port| !matches!((scheme.as_str(), port), ("http", 80) | ("https", 443)));
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    HeaderValue::from_str(&format!("{scheme}://{host}{port}")).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(text: &str) -> Cors {
        Cors::parse(text).unwrap().0
    }

    /// The origin that may read the answer, and whether with cookies.
    fn allowed(cors: &Cors, asking: Option<&'static str>) -> (Option<String>, bool, bool) {
        let mut headers = HeaderMap::new();
        cors.allow(asking.map(HeaderValue::from_static).as_ref(), &mut headers);
        let origin = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned());
        (origin, headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS), headers.contains_key(VARY))
    }

    #[test]
    fn f77_origins_are_written_as_browsers_send_them() {
        for (text, origins, with_slash) in [
            ("https://example.com", "https://example.com", ""),
            ("https://example.com/", "https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM:443/", "https://example.com", "HTTPS://Example.COM:443/"),
            ("http://a:80, https://a:80", "http://a https://a:80", ""),
            ("http://a:0080", "http://a", ""),
            ("http://a:", "http://a", ""),
            ("http://[::0001]:80", "http://[::1]", ""),
            ("capacitor://localhost", "capacitor://localhost", ""),
            (" http://a , http://a/ ,http://b:8080 ", "http://a http://b:8080", "http://a/"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", ""),
        ] {
            let (cors, slashes) = Cors::parse(text).unwrap();
            let found: Vec<_> = cors.origins.iter().map(|origin| origin.to_str().unwrap()).collect();
            assert_eq!((found.join(" "), slashes.join(" ")), (origins.to_owned(), with_slash.to_owned()));
        }
        assert!(cors(" * ").is_any());
    }

    #[test]
    fn f77_what_no_browser_sends_is_refused() {
        for text in ["*,http://a", "http://a,*", "https://*.example.com", "*/", "https://*"] {
            assert_eq!(Cors::parse(text).unwrap_err(), CorsError::Star, "{text}");
        }
        for text in ["null", "NULL", "http://a,null", "null/"] {
            assert_eq!(Cors::parse(text).unwrap_err(), CorsError::Null, "{text}");
        }
        assert!(matches!(Cors::parse("https://bücher.example").unwrap_err(), CorsError::NotAscii(_)));
        for text in [
            "",
            ",",
            "http://a,",
            "example.com",
            "https://",
            "https:///",
            "https://a//",
            "https://a/b",
            "://a",
            "https://a b",
            "https://a:b",
            "https://a:65536",
            "https://u@a",
            "https://a?b",
            "https://a#",
            "http://[::1",
            "http://[x]",
            "file://",
            "1a://b",
            "http://a:1:2",
            "http://a]",
            "https://a;b\u{7f}",
        ] {
            assert!(matches!(Cors::parse(text), Err(CorsError::NotAnOrigin(_))), "{text}");
        }
        let many: Vec<_> = (0..=MAX_ORIGINS).map(|n| format!("http://a{n}")).collect();
        assert_eq!(Cors::parse(&many.join(",")).unwrap_err(), CorsError::TooMany);
    }

    #[test]
    fn f77_the_origin_that_asks_is_mirrored_if_it_is_named() {
        let a = || Some("http://a".to_owned());
        assert_eq!(allowed(&cors("*"), Some("http://a")), (Some("*".to_owned()), false, false));
        assert_eq!(allowed(&cors("http://a"), Some("http://evil")), (a(), true, false));
        assert_eq!(allowed(&cors("http://a"), None), (a(), true, false));
        let both = cors("http://a,http://b");
        assert_eq!(allowed(&both, Some("http://a")), (a(), true, true));
        for asking in [None, Some("http://evil"), Some("null"), Some("http://a.evil"), Some("HTTP://a")] {
            assert_eq!(allowed(&both, asking), (None, false, true), "{asking:?}");
        }
    }

    #[test]
    fn f43_no_origin_is_mirrored_with_credentials_but_for_what_is_bound_to_it() {
        let page = HeaderValue::from_static("http://a");
        let of = |text, sender, asking| {
            let mut headers = HeaderMap::new();
            cors(text).allow_bound(sender, asking, &mut headers);
            let origin = headers[ACCESS_CONTROL_ALLOW_ORIGIN].to_str().unwrap().to_owned();
            (origin, headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS))
        };
        assert_eq!(of("*", Sender::Page(&page), Some(&page)), ("http://a".to_owned(), true));
        assert_eq!(of("*", Sender::Unnamed, None), ("*".to_owned(), true));
        let null = HeaderValue::from_static("null");
        assert_eq!(of("*", Sender::Hidden, Some(&null)), ("*".to_owned(), false));
        assert_eq!(of("http://b", Sender::Page(&page), Some(&page)), ("http://b".to_owned(), true));
    }

    #[test]
    fn f09_only_own_and_named_origins_are_trusted() {
        let (a, b) = (HeaderValue::from_static("http://a"), HeaderValue::from_static("http://b"));
        assert!(cors("http://a").trusts(Sender::Page(&a)));
        assert!(!cors("http://a").trusts(Sender::Page(&b)));
        assert!(!cors("*").trusts(Sender::Page(&a)));
        assert!(cors("*").trusts(Sender::Own) && cors("*").trusts(Sender::Unnamed));
        assert!(!cors("http://a").trusts(Sender::Hidden));
        assert!(!cors("http://a").trusts_socket(Sender::Unnamed));
        assert!(cors("http://a").trusts_socket(Sender::Page(&a)) && cors("*").trusts_socket(Sender::Own));
    }
}
