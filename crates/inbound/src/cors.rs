//! Which origins may read the answers (Fetch Standard, section 3.3; RIG: `CORS`).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

/// The value of `CORS`: an origin, or `*`.
#[derive(Clone, Debug)]
pub struct Cors(HeaderValue);

impl Cors {
    /// Allows this origin, or every one with `*`.
    ///
    /// # Errors
    /// The value cannot stand in a header.
    pub fn new(origin: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        HeaderValue::from_str(origin).map(Self)
    }

    /// The origin, or `*`.
    pub fn origin(&self) -> &HeaderValue {
        &self.0
    }

    /// Lets the origin read an answer to a request without cookies.
    pub(crate) fn allow(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
    }

    /// Lets the origin of `request` read an answer to a request with cookies.
    ///
    /// Browsers refuse `*` there, so the origin that asks is named instead.
    pub(crate) fn allow_credentials(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        self.allow(headers);
        if self.0 == "*"
            && let Some(origin) = request.get(ORIGIN)
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(VARY, HeaderValue::from_static("origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }

    /// What a preflight asks: the methods of an endpoint, and the headers it reads.
    pub(crate) fn preflight(headers: &mut HeaderMap, methods: &'static str) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        let names = HeaderValue::from_static("content-type,authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self(HeaderValue::from_static("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cors: &str, origin: Option<&'static str>) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        let mut headers = HeaderMap::new();
        Cors::new(cors).unwrap().allow_credentials(&request, &mut headers);
        headers
    }

    #[test]
    fn with_credentials_the_origin_is_named() {
        assert_eq!(answer("*", Some("http://app"))[ACCESS_CONTROL_ALLOW_ORIGIN], "http://app");
        assert_eq!(answer("*", None)[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn a_configured_origin_is_never_widened() {
        assert_eq!(answer("http://app", Some("http://evil"))[ACCESS_CONTROL_ALLOW_ORIGIN], "http://app");
    }
}
