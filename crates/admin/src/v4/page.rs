//! Pagination of lists.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use session::RevocationId;

use super::problem::InvalidPlace;
use super::query::Parameters;

/// Default number of entries in a page.
const DEFAULT_LIMIT: usize = 100;

/// Maximum number of entries in a page.
pub(crate) const MAX_LIMIT: usize = 1000;

/// Escapes everything but unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Takes the parameter `limit`: the maximum number of entries in the page.
pub(crate) fn limit(query: &mut Parameters) -> usize {
    let Some(text) = query.take("limit") else { return DEFAULT_LIMIT };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.unwrap_or_else(|| {
        query.fault(InvalidPlace::of_parameter("limit", format!("expected 1 to {MAX_LIMIT}")));
        DEFAULT_LIMIT
    })
}

/// Returns the URL of the next page.
pub(crate) fn next(path: &str, limit: usize, parameter: &str, cursor: &str) -> String {
    format!("{path}?limit={limit}&{parameter}={}", escaped(cursor))
}

/// Escapes a text for use as a path segment, or as a value in a query.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Returns the URL of the receipt of a revocation.
pub(crate) fn receipt_of(id: &RevocationId) -> String {
    format!("/v4/revocations/{}", escaped(id.as_str()))
}

/// Removes the entries beyond the page. Returns the last entry of the page if there were any.
pub(crate) fn cut<T>(entries: &mut Vec<T>, limit: usize) -> Option<&T> {
    let more = entries.len() > limit;
    entries.truncate(limit);
    if more { entries.last() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_limit() {
        for (query, expected) in [("", 100), ("limit=1", 1), ("limit=1000", 1000)] {
            let mut query = Parameters::parse(Some(query));
            assert_eq!(limit(&mut query), expected);
            assert!(query.finish().is_ok());
        }
        for wrong in
            ["limit=", "limit=0", "limit=1001", "limit=-1", "limit=1.0", "limit=99999999999999999999"]
        {
            let mut query = Parameters::parse(Some(wrong));
            limit(&mut query);
            assert!(query.finish().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_knows_whether_another_follows() {
        let mut all = vec![1, 2, 3];
        assert_eq!(cut(&mut all, 2), Some(&2));
        assert_eq!(cut(&mut all, 2), None);
        assert_eq!(all, [1, 2]);
        assert_eq!(next("/v4/x", 2, "after", "a/b é"), "/v4/x?limit=2&after=a%2Fb%20%C3%A9");
    }
}
