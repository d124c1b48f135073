//! Requests that are refused for what their head says, before the application is asked.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty};

use crate::app::Body;
use crate::limits::Limits;

/// The answer to a request that goes no further: a head that is larger than allowed, a method that no resource has, a
/// target, host or expectation that is none.
pub(crate) fn refusal<B>(request: &Request<B>, limits: &Limits) -> Option<Response<Body>> {
    if let Some(status) = too_large(request, limits) {
        return Some(bare(status, false));
    }
    let status = flaw(request)?;
    Some(bare(status, request.version() <= Version::HTTP_11))
}

/// An answer of a status alone, and whether it is the last of its connection.
pub(crate) fn bare(status: StatusCode, last: bool) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // None is (RFC 9110, section 10.2.1).
        response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(""));
    }
    response
}

/// RFC 9110, section 15.5.15; RFC 6585, section 5.
fn too_large<B>(request: &Request<B>, limits: &Limits) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target > limits.request_line {
        Some(StatusCode::URI_TOO_LONG)
    } else if headers > limits.headers {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        None
    }
}

fn flaw<B>(request: &Request<B>) -> Option<StatusCode> {
    // RFC 9110, sections 9.3.8 and 9.3.6: the one shows a client's secrets to scripts, the other is for forward proxies.
    match *request.method() {
        Method::TRACE => return Some(StatusCode::NOT_IMPLEMENTED),
        Method::CONNECT => return Some(StatusCode::METHOD_NOT_ALLOWED),
        _ => {}
    }
    let host = match host(request.headers()) {
        Ok(host) => host,
        Err(()) => return Some(StatusCode::BAD_REQUEST),
    };
    let sound = is_target(request.method(), request.uri())
        && is_for(request.uri(), host, request.version())
        && !request.headers().keys().any(disguised)
        // What HTTP/1 has of several is refused before; of HTTP/2 they come here.
        && request.headers().get_all(CONTENT_LENGTH).iter().nth(1).is_none();
    if !sound {
        return Some(StatusCode::BAD_REQUEST);
    }
    // RFC 9110, section 10.1.1.
    let expected = request
        .headers()
        .get_all(EXPECT)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','));
    let unknown = |expectation: &[u8]| !expectation.trim_ascii().eq_ignore_ascii_case(b"100-continue");
    expected.into_iter().any(unknown).then_some(StatusCode::EXPECTATION_FAILED)
}

/// The host that a request names in its header (RFC 9112, section 3.2).
fn host(headers: &HeaderMap) -> Result<Option<Authority<'_>>, ()> {
    let mut hosts = headers.get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => Authority::read(host.as_bytes()).map(Some).ok_or(()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether the target has one of the forms that its method has (RFC 9112, section 3.2).
fn is_target(method: &Method, uri: &Uri) -> bool {
    match uri.path() {
        "*" => method == Method::OPTIONS,
        // hyper's parser takes `host:port` for a target, which is CONNECT's alone.
        path => path.starts_with('/') && (uri.authority().is_none() || uri.scheme().is_some()),
    }
}

/// Whether it is plain whom the request is for: HTTP/1.1 names a host (RFC 9112, section 3.2), HTTP/2 here or in the target
/// (RFC 9113, section 8.3.1); one that is named twice is the same.
fn is_for(uri: &Uri, host: Option<Authority<'_>>, version: Version) -> bool {
    let Some(authority) = uri.authority() else {
        return host.is_some() || version < Version::HTTP_11;
    };
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let Some(target) = Authority::read(authority.as_str().as_bytes()) else {
        return false;
    };
    match host {
        None => version != Version::HTTP_11,
        Some(host) => {
            target.host.eq_ignore_ascii_case(host.host)
                && target.port.unwrap_or(default) == host.port.unwrap_or(default)
        }
    }
}

/// Whether a name becomes, for services that take `_` for `-`, one of those that say where a message ends or whom it is for.
fn disguised(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_') && ["content-length", "transfer-encoding"].contains(&name.replace('_', "-").as_str())
}

/// A host and a port (RFC 3986, section 3.2), without the user that no HTTP request names (RFC 9110, section 4.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let literal = text.first() == Some(&b'[');
        let end = if literal {
            text.iter().position(|byte| *byte == b']')? + 1
        } else {
            text.iter().position(|byte| *byte == b':').unwrap_or(text.len())
        };
        let (host, port) = text.split_at(end);
        let name = if literal { &host[1..end - 1] } else { host };
        let of_host = |byte: &u8| {
            byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte) || (literal && *byte == b':')
        };
        if name.is_empty() || !name.iter().all(of_host) {
            return None;
        }
        let port = match port {
            [] | b":" => None,
            [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
                Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        flaw(&request.body(()).unwrap()).map(|status| status.as_u16())
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(status("GET", "/", &[("host", "a:8080")]), None);
        assert_eq!(status("GET", "/", &[("host", "[::1]:80")]), None);
        for bad in ["", "a b", "a@b", "a:b", "a:99999", "a/b", "[::1", "a:80:80", "a#", "é"] {
            assert_eq!(status("GET", "/", &[("host", bad)]), Some(400), "{bad}");
        }
        assert_eq!(status("GET", "/", &[]), Some(400));
        assert_eq!(status("GET", "/", &[("host", "a"), ("host", "a")]), Some(400));
    }

    #[test]
    fn a_target_that_names_a_host_names_the_same() {
        for (target, host, expected) in [
            ("http://a/x", "a", None),
            ("http://A:80/x", "a", None),
            ("https://a/x", "a:443", None),
            ("http://a/x", "b", Some(400)),
            ("http://a:81/x", "a", Some(400)),
            ("http://u@a/x", "a", Some(400)),
            ("ftp://a/x", "a", Some(400)),
            ("a:80", "a:80", Some(400)),
            ("*", "a", Some(400)),
        ] {
            assert_eq!(status("GET", target, &[("host", host)]), expected, "{target}");
        }
        assert_eq!(status("OPTIONS", "*", &[("host", "a")]), None);
    }

    #[test]
    fn methods_and_expectations_that_are_not_met() {
        assert_eq!(status("TRACE", "/", &[("host", "a")]), Some(501));
        assert_eq!(status("CONNECT", "a:80", &[("host", "a:80")]), Some(405));
        assert_eq!(status("PUT", "/", &[("host", "a"), ("expect", "100-Continue")]), None);
        assert_eq!(status("PUT", "/", &[("host", "a"), ("expect", "100-continue, x")]), Some(417));
        assert_eq!(status("PUT", "/", &[("host", "a"), ("content_length", "1")]), Some(400));
    }
}
