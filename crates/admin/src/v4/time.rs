//! Formats and parses times (RFC 3339).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Formats the time in UTC with microseconds; `None` beyond the year 9999.
pub(crate) fn shown(at: SystemTime) -> Option<String> {
    let at = Timestamp::try_from(at).ok()?;
    Some(format!("{at:.6}"))
}

/// Parses a time (RFC 3339, section 5.6) from 1970 on.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    // The library accepts more forms, of ISO 8601 for instance: `2030-01-01 00:00Z` and
    // `2030-01-01T00Z[UTC]`.
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let is_date_time = (20..=40).contains(&bytes.len())
        && separators.iter().all(|(at, separator)| bytes[*at] == *separator)
        && matches!(bytes[10], b'T' | b't')
        && has_offset(bytes);
    let at = is_date_time.then(|| text.parse::<Timestamp>().ok()).flatten()?;
    let since = Duration::new(at.as_second().try_into().ok()?, at.subsec_nanosecond().try_into().ok()?);
    UNIX_EPOCH.checked_add(since)
}

/// Returns whether the text has an offset: `Z`, or hours and minutes.
fn has_offset(text: &[u8]) -> bool {
    matches!(text, [.., b'Z' | b'z'] | [.., b'+' | b'-', _, _, b':', _, _])
}

/// Returns whole seconds, rounded up, so that a remaining time is never understated.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// Returns the seconds since 1970.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_those_of_rfc_3339() {
        for (text, expected) in [
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2027-01-15t08:00:00z", 1_800_000_000),
            ("2027-01-15T10:30:00.25+02:30", 1_800_000_000),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse(text).map(seconds), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "now",
            "1800000000",
            "2027-01-15",
            "2027-01-15 08:00:00Z",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00:00+02",
            "2027-01-15T08:00:00Z[UTC]",
            "2027-01-15T08:00:00+00:00[UTC]",
            "2027-02-30T08:00:00Z",
            "2027-01-15T25:00:00Z",
            "1969-12-31T23:59:59Z",
            "é027-01-15T08:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn instants_are_shown_with_microseconds() {
        let at = UNIX_EPOCH + Duration::new(1_800_000_000, 250_000_999);
        assert_eq!(shown(at).unwrap(), "2027-01-15T08:00:00.250000Z");
        assert_eq!(shown(UNIX_EPOCH + Duration::from_secs(1 << 50)), None);
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
