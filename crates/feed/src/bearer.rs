//! Bearer tokens of those who make statements.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// Returns the bearer token of a request (RFC 6750, section 2.1); `None` if there is no credential,
/// more than one, or one of another kind.
pub(crate) fn only_bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| HeaderValue::from_str(value).expect("a header value"));
            let headers: HeaderMap = values.map(|value| (AUTHORIZATION, value)).collect();
            only_bearer(&headers).map(str::to_owned)
        };
        for given in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "] {
            assert_eq!(of(&[given]).as_deref(), Some("a.b.c"));
        }
        for wrong in
            [&[][..], &["a.b.c"], &["Basic YTpi"], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer a"]]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
