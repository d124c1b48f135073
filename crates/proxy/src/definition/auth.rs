//! `auth_type` and `auth`: where requests to an API carry their tokens.

use ::auth::TokenSources;
use http::HeaderName;

use super::members::MemberReader;

/// Limit of the name of a header, parameter or cookie, in bytes.
const MAX_NAME: usize = 255;

/// RIG's message for an unknown type, and for a secured endpoint of an API whose type is `none`.
pub(super) const ONLY_JWT: &str = r#"must be one of ["jwt"]"#;

/// The kind of tokens that an API accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthType {
    /// No endpoint may be secured.
    None,
    /// JSON Web Tokens.
    Jwt,
    /// Invalid; reported as a fault of the API already.
    Wrong,
}

pub(super) fn auth_type(api: &MemberReader<'_>) -> AuthType {
    match api.value("auth_type").and_then(|value| value.as_str()) {
        Some("none") => AuthType::None,
        Some("jwt") => AuthType::Jwt,
        _ => {
            api.fault("auth_type", ONLY_JWT);
            AuthType::Wrong
        }
    }
}

pub(super) fn sources(auth: &MemberReader<'_>) -> TokenSources {
    auth.only(&["use_header", "header_name", "use_query", "query_name", "use_cookie", "cookie_name"]);
    let header = named(auth, "use_header", "header_name").and_then(|name| {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        if header.is_none() {
            auth.fault("header_name", "must be a header name (RFC 9110)");
        }
        header
    });
    let query = named(auth, "use_query", "query_name").map(str::to_owned);
    let cookie = named(auth, "use_cookie", "cookie_name").filter(|name| {
        // The name of a cookie is a token (RFC 6265, section 4.1.1), like that of a header.
        let token = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !token {
            auth.fault("cookie_name", "must be the name of a cookie (RFC 6265)");
        }
        token
    });
    TokenSources { header, query, cookie: cookie.map(str::to_owned), subprotocol: false }
}

/// Returns the name of a header, parameter or cookie, if `switch` says that tokens are read from
/// there. A name is checked even if they are not; a missing name is a fault if they are.
fn named<'a>(auth: &MemberReader<'a>, switch: &str, name: &str) -> Option<&'a str> {
    let used = auth.flag(switch, false);
    match auth.value(name) {
        None => {}
        Some(value) if value.as_str() == Some("") => {}
        Some(_) => return auth.text(name, MAX_NAME).filter(|_| used),
    }
    if used {
        auth.fault(name, "must be present");
    }
    None
}
