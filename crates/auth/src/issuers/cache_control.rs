//! For how long an answer may be kept (RFC 9111).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// Returns the `max-age` of an answer, less its `Age` (RFC 9111, sections 4.2 and 5.1). `None` if
/// there is none that can be read. Nothing else of `Cache-Control` counts: with `no-cache` or
/// `no-store`, there would be a fetch for each token.
pub(super) fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut ages = values.flat_map(|value| value.split(',')).filter_map(|directive| {
        let (name, age) = directive.split_once('=')?;
        let age = age.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("max-age").then(|| seconds(age)).flatten()
    });
    // RFC 9111, section 4.2.1: if there are several, the first or the shortest.
    let max_age = ages.by_ref().min()?;
    let age = headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?.trim())).unwrap_or(0);
    Some(Duration::from_secs(max_age.saturating_sub(age)))
}

/// Reads a number of seconds (RFC 9111, section 1.2.2). Larger ones than can be read count as long.
fn seconds(digits: &str) -> Option<u64> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_max_age_and_age_count() {
        for (pairs, expected) in [
            (&[][..], None),
            (&[("cache-control", "max-age=600")], Some(600)),
            (&[("cache-control", "public, Max-Age=\"90\" , must-revalidate")], Some(90)),
            (&[("cache-control", "max-age=600"), ("age", "100")], Some(500)),
            (&[("cache-control", "max-age=600"), ("age", "601")], Some(0)),
            (&[("cache-control", "max-age=600"), ("age", "-5")], Some(600)),
            (&[("cache-control", "max-age=600"), ("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "no-cache, no-store, private")], None),
            (&[("cache-control", "s-maxage=5")], None),
            (&[("cache-control", "max-age")], None),
            (&[("cache-control", "max-age=")], None),
            (&[("cache-control", "max-age=-1")], None),
            (&[("cache-control", "max-age=1.5")], None),
            (&[("cache-control", "max-age=99999999999999999999999")], Some(u64::from(u32::MAX))),
            (&[("age", "10")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(fresh_for(&headers).map(|time| time.as_secs()), expected, "{pairs:?}");
        }
    }
}
