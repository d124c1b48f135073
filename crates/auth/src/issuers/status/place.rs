//! Where the status lists of an issuer may be.
//!
//! The URI of a list is in a token, and the gateway fetches it. So it must lie below a place that
//! the operator has named, however a server or a proxy in front of it reads the path.

use http::Uri;

use super::ListsConfig;

/// Limit of the length of a URI, in bytes. With the index, it still is a mark.
const MAX_URI: usize = 1000;

/// Escaped characters that some servers decode before they look for the parts of a path: a dot, a
/// slash, a backslash, and the percent sign itself.
const REFUSED_ESCAPES: [&str; 4] = ["%2e", "%2f", "%5c", "%25"];

/// A text that cannot be a prefix of the URIs of status lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an absolute URI with http or https, a host and a path that ends with a slash, without user name, \
     query, fragment, and dots or escaped slashes in its path"
)]
pub struct PrefixError;

impl ListsConfig {
    /// Parses a prefix of the URIs of status lists.
    ///
    /// # Errors
    /// Fails if it is not absolute, its path does not end with a slash, or it has parts that no URI
    /// of a list may have.
    pub fn prefix(text: &str) -> Result<Uri, PrefixError> {
        let uri = parse(text).ok_or(PrefixError)?;
        let is_folder = uri.query().is_none() && !text.contains('?') && text.ends_with('/');
        // `http://host` has the path `/` too.
        let has_path = text.split("://").nth(1).is_some_and(|rest| rest.contains('/'));
        if is_folder && has_path { Ok(uri) } else { Err(PrefixError) }
    }

    /// Returns the URI of a list if it has one of the prefixes.
    pub(super) fn allowed(&self, text: &str) -> Option<Uri> {
        let uri = parse(text)?;
        let has = |prefix: &Uri| {
            // A `Uri` compares both without case, and a port only by its text.
            prefix.scheme() == uri.scheme()
                && prefix.authority() == uri.authority()
                && uri.path().starts_with(prefix.path())
        };
        self.prefixes.iter().any(has).then_some(uri)
    }
}

/// Parses an absolute URI that all servers read alike.
fn parse(text: &str) -> Option<Uri> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
    if text.len() > MAX_URI || !text.bytes().all(is_plain) {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    let path = uri.path().to_ascii_lowercase();
    // A parameter of a segment does not hide the dots from some servers.
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    let is_odd = path.split('/').any(is_dots) || REFUSED_ESCAPES.iter().any(|escape| path.contains(escape));
    (is_http && !has_user && uri.host().is_some_and(|host| !host.is_empty()) && !is_odd).then_some(uri)
}
