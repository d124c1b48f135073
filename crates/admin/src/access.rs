//! Authenticates callers of the internal port (d18).

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;

use crate::wording::Unhandled;

/// The bearer token of the internal port (`API_TOKEN`).
#[derive(Clone)]
pub struct ApiToken(Box<[u8]>);

impl ApiToken {
    /// Creates the token that callers must present.
    pub fn new(token: &str) -> Self {
        Self(token.as_bytes().into())
    }

    /// Compares in a time that does not depend on how many bytes match.
    fn admits(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && verify_slices_are_equal(token, &self.0).is_ok()
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

/// Lets requests for health and readiness pass, and those with the token (RFC 6750, section 2.1).
pub(crate) async fn require(State(token): State<Option<ApiToken>>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path().trim_end_matches('/'), "/health" | "/readyz");
    let admitted = token.is_none_or(|token| {
        request.headers().get(AUTHORIZATION).is_some_and(|value| token.admits(value.as_bytes()))
    });
    if open || admitted {
        return next.run(request).await;
    }
    Unhandled::Unauthorized.answer(request.uri().path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_admitted() {
        let token = ApiToken::new("test-api-token");
        assert!(token.admits(b"Bearer test-api-token"));
        assert!(token.admits(b"bearer test-api-token"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer test-api-toke", "Bearer test-api-token ", "test-api-token"]
        {
            assert!(!token.admits(wrong.as_bytes()), "{wrong}");
        }
    }
}
