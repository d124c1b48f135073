//! Dates and timestamps as text (RFC 3339).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The unit of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl Unit {
    fn nanoseconds(self) -> i128 {
        match self {
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    fn instant(self, count: i64) -> Option<Timestamp> {
        Timestamp::from_nanosecond(i128::from(count) * self.nanoseconds()).ok()
    }

    /// Rounds down.
    fn count(self, instant: Timestamp) -> Option<i64> {
        i64::try_from(instant.as_nanosecond().div_euclid(self.nanoseconds())).ok()
    }
}

/// Formats a timestamp. `None` if RFC 3339 cannot express it.
pub(crate) fn timestamp(count: i64, unit: Unit) -> Option<String> {
    let instant = unit.instant(count)?;
    civil(instant).map(|_| instant.to_string())
}

/// Formats a timestamp without an offset. `None` if RFC 3339 cannot express its date and time.
pub(crate) fn local(count: i64, unit: Unit) -> Option<String> {
    Some(civil(unit.instant(count)?)?.to_string())
}

/// Formats a date. `None` if RFC 3339 cannot express it.
pub(crate) fn date(days: i32) -> Option<String> {
    let instant = Timestamp::from_second(i64::from(days) * DAY).ok()?;
    Some(civil(instant)?.date().to_string())
}

/// Parses a timestamp. `None` if the text is not one, or its type cannot hold it.
pub(crate) fn parse_timestamp(text: &str, unit: Unit) -> Option<i64> {
    unit.count(text.parse().ok()?)
}

/// Parses a timestamp without an offset. `None` if the text is not one, or its type cannot hold it.
pub(crate) fn parse_local(text: &str, unit: Unit) -> Option<i64> {
    let time: DateTime = text.parse().ok()?;
    unit.count(TimeZone::UTC.to_timestamp(time).ok()?)
}

/// Parses a date. `None` if the text is not one.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    // The parser ignores a time after the date.
    let date: Date = if text.len() == "2026-01-31".len() { text.parse().ok()? } else { return None };
    let midnight = TimeZone::UTC.to_timestamp(date.into()).ok()?;
    i32::try_from(midnight.as_second().div_euclid(DAY)).ok()
}

/// Returns the date and time in UTC, if its year has four digits.
fn civil(instant: Timestamp) -> Option<DateTime> {
    let time = TimeZone::UTC.to_datetime(instant);
    (0..=9999).contains(&time.year()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_text_in_both_directions() {
        for (count, unit, text) in [
            (0, Unit::Millis, "1970-01-01T00:00:00Z"),
            (1_500, Unit::Millis, "1970-01-01T00:00:01.5Z"),
            (-1, Unit::Micros, "1969-12-31T23:59:59.999999Z"),
            (1_769_860_800_000_000_001, Unit::Nanos, "2026-01-31T12:00:00.000000001Z"),
        ] {
            assert_eq!(timestamp(count, unit).as_deref(), Some(text));
            assert_eq!(parse_timestamp(text, unit), Some(count));
            let without = text.trim_end_matches('Z');
            assert_eq!(local(count, unit).as_deref(), Some(without));
            assert_eq!(parse_local(without, unit), Some(count));
        }
        for (days, text) in [(0, "1970-01-01"), (-1, "1969-12-31"), (20_484, "2026-01-31")] {
            assert_eq!(date(days).as_deref(), Some(text));
            assert_eq!(parse_date(text), Some(days));
        }
    }

    #[test]
    fn what_is_more_precise_is_rounded_down() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:00.0019Z", Unit::Millis), Some(1));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.9999Z", Unit::Millis), Some(-1));
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00", Unit::Millis), Some(0));
    }

    #[test]
    fn what_text_cannot_express_is_none() {
        for count in [i64::MAX, i64::MIN, 253_402_300_800_000, -62_167_219_200_001] {
            assert_eq!(timestamp(count, Unit::Millis), None);
            assert_eq!(local(count, Unit::Millis), None);
        }
        assert_eq!(date(i32::MAX), None);
        assert_eq!(date(i32::MIN), None);
        assert_eq!(parse_timestamp("9999-01-01T00:00:00Z", Unit::Nanos), None);
        for text in ["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-13-31T12:00:00Z"] {
            assert_eq!(parse_timestamp(text, Unit::Millis), None, "{text}");
        }
        for text in ["", "now", "2026-01-31T12:00:00Z", "2026-02-30"] {
            assert_eq!(parse_local(text, Unit::Millis), None, "{text}");
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
