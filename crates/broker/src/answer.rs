//! Answers of services that come as messages.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proxy::AsyncAnswer;

/// The header with the token of the request that an answer is for. Header names of Kafka have
/// cases, and RIG knows this one only in lower case.
pub const CORRELATION: &str = "rig-correlation";

/// The header with the status for the client, a number in decimal. Its name may have any case.
pub const RESPONSE_CODE: &str = "rig-response-code";

/// Limit of the headers of an answer: that of the servers that the gateway asks over HTTP.
const MOST_HEADERS: usize = 100;

/// The service sent something for the client that cannot be answered. The client gets a 502
/// (b14: in RIG, it waits for the timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// There is no status.
    #[error("the header rig-response-code is missing")]
    NoStatus,
    /// The status is no final one.
    #[error("the header rig-response-code is not a status from 200 to 599")]
    WrongStatus,
    /// There are too many headers.
    #[error("more than 100 headers")]
    TooManyHeaders,
}

impl InvalidAnswer {
    /// Returns what the client gets instead.
    pub fn answer(self) -> AsyncAnswer {
        AsyncAnswer { status: StatusCode::BAD_GATEWAY, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// Reads the answer of a message: its status from a header, the others as those of HTTP, and its
/// payload as the body, unchanged. Of a header that is given more than once the last one counts,
/// except for `set-cookie`. Headers that are not for the client, or cannot be sent over HTTP, are
/// left out (b13). A message without a status has the default one, if there is one.
///
/// # Errors
/// Fails if the client cannot be answered with it.
pub fn answer_of<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: Bytes,
    default: Option<StatusCode>,
) -> Result<AsyncAnswer, InvalidAnswer> {
    let mut code = None;
    let mut given = HeaderMap::new();
    for (count, (name, value)) in headers.into_iter().enumerate() {
        if count == MOST_HEADERS {
            return Err(InvalidAnswer::TooManyHeaders);
        }
        if name.eq_ignore_ascii_case(RESPONSE_CODE) {
            code = Some(value);
            continue;
        }
        let header = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value));
        let (Ok(name), Ok(value)) = header else { continue };
        if name == http::header::SET_COOKIE {
            given.append(name, value);
        } else {
            given.insert(name, value);
        }
    }
    let status = match code {
        Some(code) => status(code).ok_or(InvalidAnswer::WrongStatus)?,
        None => default.ok_or(InvalidAnswer::NoStatus)?,
    };
    Ok(AsyncAnswer::new(status, &given, body))
}

fn status(code: &[u8]) -> Option<StatusCode> {
    let code: u16 = str::from_utf8(code).ok()?.trim().parse().ok()?;
    StatusCode::from_u16(code).ok().filter(|_| (200..600).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)], default: Option<StatusCode>) -> Result<AsyncAnswer, InvalidAnswer> {
        answer_of(headers.iter().map(|(name, value)| (*name, value.as_bytes())), "body".into(), default)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn status_headers_and_body_are_those_of_the_message() {
        let answer =
            read(&[("rig-response-code", "201"), ("Content-Type", "text/x"), ("x-custom", "1")], None);
        let expected = AsyncAnswer {
            status: StatusCode::CREATED,
            headers: headers(&[("content-type", "text/x"), ("x-custom", "1")]),
            body: "body".into(),
        };
        assert_eq!(answer, Ok(expected));
    }

    #[test]
    fn names_of_headers_have_no_case() {
        for name in ["Rig-Response-Code", "RIG-RESPONSE-CODE"] {
            let answer = read(&[(name, "404"), ("X-Custom", "1")], Some(StatusCode::OK)).unwrap();
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}");
            assert_eq!(answer.headers, headers(&[("x-custom", "1")]));
        }
    }

    #[test]
    fn the_last_of_several_headers_counts() {
        let answer = read(
            &[
                ("rig-response-code", "500"),
                ("content-type", "text/a"),
                ("set-cookie", "a=1"),
                ("rig-response-code", "200"),
                ("content-type", "text/b"),
                ("set-cookie", "b=2"),
            ],
            None,
        );
        let expected = headers(&[("content-type", "text/b"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]);
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.headers), (StatusCode::OK, expected));
    }

    #[test]
    fn b13_headers_that_are_not_for_the_client_are_left_out() {
        let answer = read(
            &[
                ("rig-response-code", "200"),
                ("rig-correlation", "token"),
                ("content-length", "1000"),
                ("transfer-encoding", "chunked"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
                ("access-control-allow-origin", "*"),
                ("host", "example.com"),
                ("x y", "no name"),
                ("", "no name"),
                ("x-folded", "a\r\nset-cookie: b=1"),
                ("x-custom", "1"),
            ],
            None,
        );
        assert_eq!(answer.unwrap().headers, headers(&[("x-custom", "1")]));
    }

    #[test]
    fn b14_a_wrong_status_is_an_error() {
        for code in ["", "abc", "99", "100", "199", "600", "1000", "-200", "200.0", "2e2", "99999999999"] {
            assert_eq!(read(&[("rig-response-code", code)], None), Err(InvalidAnswer::WrongStatus), "{code}");
        }
        assert_eq!(
            answer_of([(RESPONSE_CODE, &b"\xff"[..])], Bytes::new(), None),
            Err(InvalidAnswer::WrongStatus)
        );
        assert_eq!(read(&[("content-type", "text/x")], None), Err(InvalidAnswer::NoStatus));
        assert_eq!(InvalidAnswer::NoStatus.answer().status, StatusCode::BAD_GATEWAY);
    }

    #[test]
    fn only_some_brokers_have_a_default_status() {
        assert_eq!(read(&[], Some(StatusCode::OK)).unwrap().status, StatusCode::OK);
        let wrong = read(&[("rig-response-code", "x")], Some(StatusCode::OK));
        assert_eq!(wrong, Err(InvalidAnswer::WrongStatus));
    }

    #[test]
    fn some_statuses_have_no_body() {
        for code in ["204", "205", "304"] {
            assert_eq!(read(&[("rig-response-code", code)], None).unwrap().body, "", "{code}");
        }
        for code in ["200", "299", "404", "599"] {
            assert_eq!(read(&[("rig-response-code", code)], None).unwrap().body, "body", "{code}");
        }
    }

    #[test]
    fn headers_are_bounded() {
        let most = vec![("rig-response-code", "200"); MOST_HEADERS];
        assert!(read(&most, None).is_ok());
        let more = vec![("rig-response-code", "200"); MOST_HEADERS + 1];
        assert_eq!(read(&more, None), Err(InvalidAnswer::TooManyHeaders));
    }
}
