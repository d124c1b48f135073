//! Single values of an issuer, with the bounds of each.

use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;

use crate::settings::kind::ValueKind;

/// Limit of the bytes of a text: that of claims that name a session or a user.
const TEXT: usize = 1024;

/// Limit of the bytes of an id.
const ID: usize = 32;

/// Limit of the texts of a list.
pub(super) const MOST_TEXTS: usize = 64;

pub(super) const ANY_TEXT: ValueKind =
    ValueKind::Text { placeholder: "TEXT", expected: "a text of 1 to 1024 bytes without control characters" };

pub(super) const URL: ValueKind =
    ValueKind::Text { placeholder: "URL", expected: "an https:// URL, or http:// of this host" };

pub(in crate::settings) const POINTER: ValueKind =
    ValueKind::Text { placeholder: "POINTER", expected: "a JSON Pointer (RFC 6901), such as /sid" };

/// Parses an id, which stands in paths, metrics and the audit log.
pub(super) fn id(text: &str, kind: ValueKind) -> Result<Arc<str>, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_good = (1..=ID).contains(&text.len()) && text.bytes().all(allowed);
    if is_good { Ok(text.into()) } else { Err(format!("expected {kind}")) }
}

/// Parses a text that is compared with claims.
pub(super) fn text(text: &str, kind: ValueKind) -> Result<String, String> {
    let is_good = (1..=TEXT).contains(&text.len()) && !text.contains(char::is_control);
    if is_good { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
}

/// Parses the pointer of a claim.
pub(in crate::settings) fn pointer(text: &str, kind: ValueKind) -> Result<String, String> {
    let is_good = text.len() <= TEXT && session::Config::new(text).is_ok();
    if is_good { Ok(text.to_owned()) } else { Err(format!("expected {kind}")) }
}

/// Parses an issuer whose keys are discovered: a URL without query (OpenID Connect Discovery,
/// section 3). The text itself counts, with each slash.
pub(super) fn discovered(issuer: &str, insecure: bool) -> Result<Arc<str>, String> {
    url(issuer, insecure)?;
    match issuer.contains('?') {
        true => Err("has a query; expected the URL of a provider without".to_owned()),
        false => Ok(issuer.into()),
    }
}

/// Parses an issuer whose keys are known: any text. A URL must be one that could be discovered, so
/// that tokens do not count on a name that anybody on the network can take.
pub(super) fn named(issuer: &str, insecure: bool) -> Result<Arc<str>, String> {
    let is_url = issuer.starts_with("http://") || issuer.starts_with("https://");
    if is_url { discovered(issuer, insecure) } else { Ok(text(issuer, ANY_TEXT)?.into()) }
}

/// Parses a URL that is fetched: https, or http to this host, with `insecure` to any.
pub(super) fn url(text: &str, insecure: bool) -> Result<Uri, String> {
    let expected = || "expected an https:// URL without user and fragment".to_owned();
    // The parser drops a fragment.
    if text.len() > TEXT || text.contains('#') {
        return Err(expected());
    }
    let url: Uri = text.parse().map_err(|_| expected())?;
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(expected)?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(expected());
    }
    // The parser takes a port that is none for a missing one.
    let has_port = url.authority().is_some_and(|authority| authority.as_str().len() > host.len());
    if has_port && url.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is none; expected 1 to 65535".to_owned());
    }
    let is_http = url.scheme() == Some(&Scheme::HTTP);
    if is_http && !insecure && !is_loopback(host) {
        return Err(
            "http:// to another host can be read and changed on the way; expected https://".to_owned()
        );
    }
    if is_http || url.scheme() == Some(&Scheme::HTTPS) { Ok(url) } else { Err(expected()) }
}

/// A name other than `localhost` may stand for any host.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_or_of_this_host() {
        for good in [
            "https://id.example",
            "https://id.example:8443/a?b",
            "http://localhost:1/",
            "http://[::1]",
            "http://127.0.0.9",
        ] {
            assert!(url(good, false).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "id.example",
            "/a",
            "ftp://id.example",
            "http://id.example",
            "http://localhost.example",
            "https://",
            "https://me:hidden@id.example",
            "https://id.example/#a",
            "https://id.example\n",
            "http://127.0.0.1.example",
            "https://id.example:65536",
            "https://id.example:port/",
            "https://id.example:/",
            "https://id.example:0",
        ] {
            let told = url(wrong, false).unwrap_err();
            assert!(!told.contains("hidden"), "{wrong}: {told}");
        }
        assert!(url("http://id.example", true).is_ok());
        assert!(url(&format!("https://id.example/{}", "a".repeat(TEXT)), false).is_err());
    }

    #[test]
    fn an_issuer_with_known_keys_may_have_any_text_but_the_url_of_another_host() {
        assert_eq!(discovered("https://id.example/", false).as_deref(), Ok("https://id.example/"));
        for text in ["accounts.google.com", "our-service", "urn:example:id"] {
            assert_eq!(named(text, false).as_deref(), Ok(text));
            assert!(discovered(text, false).is_err(), "{text}");
        }
        for wrong in ["http://id.example", "https://id.example?a=b", "", "a\u{7f}"] {
            assert!(named(wrong, false).is_err() && discovered(wrong, false).is_err(), "{wrong}");
        }
    }
}
