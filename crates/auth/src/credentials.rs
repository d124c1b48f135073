//! Where a request carries its tokens.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};

/// The tokens of a request.
pub struct Credentials;

impl Credentials {
    /// All tokens of a request that connects: of the header, of `?jwt=` and of the cookie of this name (d14). Each once.
    pub fn from_request<'a>(
        headers: &'a HeaderMap,
        query_jwt: Option<&'a str>,
        cookie: Option<&str>,
    ) -> Vec<&'a str> {
        let mut tokens = bearer_tokens(headers, &AUTHORIZATION);
        let others = query_jwt.into_iter().chain(cookie.and_then(|name| cookie_token(headers, name)));
        for token in others.filter(|token| !token.is_empty()) {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        tokens
    }
}

/// The tokens of a header with the syntax of `Authorization`: several, separated by commas, with or without the scheme `Bearer`; other
/// schemes are not ours (RIG; RFC 6750, section 2.1).
pub fn bearer_tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|credentials| match credentials.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
            Some(_) => None,
            None => Some(credentials.trim()).filter(|token| !token.eq_ignore_ascii_case("bearer")),
        })
        .filter(|token| !token.is_empty())
        .collect()
}

/// The value of a cookie (RFC 6265, section 5.4).
pub fn cookie_token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn rigs_forms_of_the_header() {
        let of = |value| bearer_tokens(&headers(&[(AUTHORIZATION, value)]), &AUTHORIZATION).join("|");
        assert_eq!(of("Bearer a"), "a");
        assert_eq!(of("bearer a, Bearer b"), "a|b");
        assert_eq!(of("a"), "a");
        assert_eq!(of("Basic Zm9vOmJhcg=="), "");
        assert_eq!(of("Bearer"), "");
        assert_eq!(of(", ,"), "");
    }

    #[test]
    fn d14_header_query_and_cookie_are_taken() {
        let headers = headers(&[(AUTHORIZATION, "Bearer a"), (COOKIE, "x=1; token=c")]);
        assert_eq!(Credentials::from_request(&headers, Some("b"), Some("token")), ["a", "b", "c"]);
        assert_eq!(Credentials::from_request(&headers, Some(""), None), ["a"]);
    }
}
