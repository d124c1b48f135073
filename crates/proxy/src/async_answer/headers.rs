//! Selects the headers of a service's answer that are meant for the client (d28: RIG copies all,
//! including its own `Host`).

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    LOCATION, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName};

/// Headers that describe the answer, not the request that carries it.
const MEANT: [HeaderName; 9] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
    LOCATION,
    SET_COOKIE,
    VARY,
];

/// Headers with the prefix X- that intermediaries add about the request.
const NOT_MEANT: [&str; 2] = ["x-request-id", "x-real-ip"];

/// Returns the headers for the client. Several with the same name keep their order.
pub(super) fn for_the_client(given: &HeaderMap) -> HeaderMap {
    let values = given.iter().filter(|(name, _)| is_meant(name) && !is_of_the_connection(given, name));
    values.map(|(name, value)| (name.clone(), value.clone())).fold(
        HeaderMap::new(),
        |mut meant, (name, value)| {
            meant.append(name, value);
            meant
        },
    )
}

fn is_meant(name: &HeaderName) -> bool {
    let text = name.as_str();
    let own = text.starts_with("x-") && !text.starts_with("x-forwarded-") && !NOT_MEANT.contains(&text);
    own || MEANT.contains(name)
}

/// Returns whether the header applies to this connection only (RFC 9110, section 7.6.1).
fn is_of_the_connection(given: &HeaderMap, name: &HeaderName) -> bool {
    let lines = given.get_all(CONNECTION).into_iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn f46_an_odd_option_hides_none_beside_it() {
        let mut given = headers(&[("x-of-the-connection", "1"), ("x-custom", "1")]);
        given.append(CONNECTION, HeaderValue::from_bytes(b"Jos\xe9, X-Of-The-Connection").unwrap());
        assert_eq!(for_the_client(&given), headers(&[("x-custom", "1")]));
    }

    #[test]
    fn what_is_about_the_answer_goes_on() {
        let meant = headers(&[
            ("content-type", "text/html"),
            ("content-encoding", "br"),
            ("content-language", "de"),
            ("cache-control", "no-store"),
            ("set-cookie", "b=2"),
            ("set-cookie", "a=1"),
            ("location", "/x"),
            ("etag", "\"e\""),
            ("last-modified", "Wed, 25 Nov 2026 09:00:00 GMT"),
            ("vary", "accept"),
            ("x-custom", "1"),
        ]);
        assert_eq!(for_the_client(&meant), meant);
        let cookies: Vec<_> = for_the_client(&meant).get_all("set-cookie").iter().cloned().collect();
        assert_eq!(cookies, ["b=2", "a=1"]);
    }

    #[test]
    fn d28_what_is_about_the_request_does_not() {
        let request = headers(&[
            ("host", "127.0.0.1:4010"),
            ("authorization", "Bearer test-api-token"),
            ("cookie", "a=1"),
            ("content-length", "13"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("rig-correlation", "t"),
            ("rig-response-code", "200"),
            ("accept", "*/*"),
            ("user-agent", "service"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-request-id", "1"),
            ("traceparent", "00-710d8db98167649e825f6aa2f1e54978-c2cf585e458eff53-01"),
            ("access-control-allow-origin", "*"),
        ]);
        assert_eq!(for_the_client(&request), HeaderMap::new());
    }
}
