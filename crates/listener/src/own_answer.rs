//! The parts that the gateway's own answers share on both ports.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use uuid::Uuid;

use crate::body::Body;

/// The id of a request, in the request and in its answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `Cache-Control` of answers that must not be reused (RIG).
pub const NO_STORE: HeaderValue = HeaderValue::from_static("max-age=0, private, must-revalidate");

/// Length limit of a request id from a client, in bytes (RIG).
const MAX_REQUEST_ID: usize = 200;

/// Returns the id that the client gave its request; `None` without one, or if it is empty or too
/// long.
pub fn given_request_id(request: &HeaderMap) -> Option<HeaderValue> {
    request.get(REQUEST_ID).filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len())).cloned()
}

/// Returns a new id, for a request without one.
pub fn new_request_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let id = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).expect("a UUID is a header value")
}

/// Sets after how many seconds a client may retry. Pages of other origins can read it too (RFC
/// 9110, section 10.2.3; Fetch Standard, section 3.3.3).
pub fn retry_after(headers: &mut HeaderMap, seconds: u64) {
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}

/// Returns a body of these bytes.
pub fn whole_body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_client_has_1_to_200_bytes() {
        let given = |id: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]);
            given_request_id(&headers)
        };
        assert_eq!(given(""), None);
        assert_eq!(given("a").unwrap(), "a");
        assert!(given(&"a".repeat(200)).is_some());
        assert_eq!(given(&"a".repeat(201)), None);
        assert_eq!(given_request_id(&HeaderMap::new()), None);
    }

    #[test]
    fn a_new_id_is_a_uuid() {
        let [one, other] = [(), ()].map(|()| new_request_id());
        assert_ne!(one, other);
        assert!(Uuid::parse_str(one.to_str().unwrap()).is_ok());
    }
}
