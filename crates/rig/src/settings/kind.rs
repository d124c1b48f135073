//! The kinds of values: how each is described, and parsed.

use std::fmt;
use std::time::Duration;

/// The kind of a setting's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ValueKind {
    /// A TCP port.
    Port,
    /// The IP address to bind.
    Address,
    /// A readable file.
    File,
    /// A duration between two bounds, both inclusive.
    Time { least: Duration, most: Duration },
    /// The same, with a bare number in milliseconds (RIG).
    Millis { least: Duration, most: Duration },
    /// A number of bytes between two bounds, both inclusive.
    Bytes { least: u64, most: u64 },
    /// An integer between two bounds, both inclusive.
    Number { least: u64, most: u64 },
    /// Yes or no.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any other text, described by this sentence and placeholder.
    Text { placeholder: &'static str, expected: &'static str },
    /// A list of tables, which is an array of tables in the settings file; described as a text is.
    Tables { placeholder: &'static str, expected: &'static str },
}

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

const NANOSECOND: u128 = 1;
const MILLISECOND: u128 = 1_000_000 * NANOSECOND;
const SECOND: u128 = 1000 * MILLISECOND;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
const DAY: u128 = 24 * HOUR;

impl ValueKind {
    /// Returns the placeholder of the value in the help.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self {
            Self::Port => "PORT",
            Self::Address => "ADDRESS",
            Self::File => "FILE",
            Self::Time { .. } | Self::Millis { .. } => "TIME",
            Self::Bytes { .. } => "BYTES",
            Self::Number { .. } => "NUMBER",
            Self::Switch => "BOOL",
            Self::Word(_) => "WORD",
            Self::Text { placeholder, .. } | Self::Tables { placeholder, .. } => placeholder,
        }
    }
}

/// Describes the expected value.
impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Port => f.write_str("a port from 0 (any free one) to 65535"),
            Self::Address => f.write_str("an IP address, such as 127.0.0.1 or ::"),
            Self::File => f.write_str("a file that can be read"),
            Self::Time { least, most } | Self::Millis { least, most } => {
                let bare = if matches!(self, Self::Time { .. }) { "seconds" } else { "milliseconds" };
                let (least, most) = (display_time(least), display_time(most));
                write!(f, "a time from {least} to {most}, such as 500ms, 10s, 1h or bare {bare}")
            }
            Self::Bytes { least, most } => {
                let (least, most) = (display_bytes(least), display_bytes(most));
                write!(f, "a number of bytes from {least} to {most}, such as 16384, 16KiB or 1MiB")
            }
            Self::Number { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::Switch => f.write_str("true or false"),
            Self::Word(words) => match words.split_last() {
                Some((last, others)) if !others.is_empty() => write!(f, "{} or {last}", others.join(", ")),
                _ => f.write_str(&words.concat()),
            },
            Self::Text { expected, .. } | Self::Tables { expected, .. } => f.write_str(expected),
        }
    }
}

/// Parses `500ms`, `10s`, `5m`, `1h`, `1d`, or bare seconds. `None` if it is malformed or does not
/// fit.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    time_in(text, SECOND)
}

/// The same, or bare milliseconds.
fn parse_millis(text: &str) -> Option<Duration> {
    time_in(text, MILLISECOND)
}

/// Parses a duration within the bounds of its kind.
pub(super) fn parse_time_of(text: &str, kind: ValueKind) -> Option<Duration> {
    match kind {
        ValueKind::Time { least, most } => parse_time(text).filter(|time| (least..=most).contains(time)),
        ValueKind::Millis { least, most } => parse_millis(text).filter(|time| (least..=most).contains(time)),
        _ => None,
    }
}

fn time_in(text: &str, bare: u128) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let unit = match unit {
        "" => bare,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    let nanoseconds = u128::from(number).checked_mul(unit)?;
    let seconds = u64::try_from(nanoseconds / SECOND).ok()?;
    let rest = u32::try_from(nanoseconds % SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Parses `1048576`, `16KiB`, `1MiB`, `1GiB`. `None` if it is malformed or does not fit.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Parses the words that RIG accepts for yes and no.
pub(crate) fn parse_switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Parses digits only: no sign, no blank.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    match split_unit(text)? {
        (number, "") => Some(number),
        _ => None,
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

fn display_time(time: Duration) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (MILLISECOND, "ms")];
    let nanoseconds = time.as_nanos();
    let whole = units.iter().find(|(unit, _)| nanoseconds > 0 && nanoseconds.is_multiple_of(*unit));
    whole.map_or_else(|| "0".to_owned(), |(unit, name)| format!("{}{name}", nanoseconds / unit))
}

fn display_bytes(bytes: u64) -> String {
    let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    let whole = units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bare_numbers_are_seconds() {
        assert_eq!(parse_time("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_time("10"), Some(Duration::from_secs(10)));
        assert_eq!(parse_time("10s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_time("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_time("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_time("0"), Some(Duration::ZERO));
        assert_eq!(parse_millis("5000"), Some(Duration::from_secs(5)));
        assert_eq!(parse_millis("5s"), Some(Duration::from_secs(5)));
        for wrong in ["", "s", "1.5s", "-1s", "+1s", "1 s", " 1s", "1w", "18446744073709551615d", "1ſ"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_have_binary_units() {
        assert_eq!(parse_bytes("1048576"), Some(MIB));
        assert_eq!(parse_bytes("16KiB"), Some(16 * KIB));
        assert_eq!(parse_bytes("1GiB"), Some(GIB));
        for wrong in ["", "KiB", "1KB", "1 KiB", "-1", "18446744073709551615KiB", "99999999999999999999"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn switches_take_the_words_of_rig() {
        assert_eq!(["true", "1", "Yes"].map(parse_switch), [Some(true); 3]);
        assert_eq!(["false", "0", "NO"].map(parse_switch), [Some(false); 3]);
        assert_eq!(["", "on", "2"].map(parse_switch), [None; 3]);
    }

    #[test]
    fn what_is_allowed_is_said_in_the_largest_unit() {
        let time = ValueKind::Time { least: Duration::ZERO, most: Duration::from_secs(5400) };
        assert_eq!(time.to_string(), "a time from 0 to 90m, such as 500ms, 10s, 1h or bare seconds");
        let bytes = ValueKind::Bytes { least: 100, most: 3 * MIB };
        let expected = "a number of bytes from 100 to 3MiB, such as 16384, 16KiB or 1MiB";
        assert_eq!(bytes.to_string(), expected);
    }
}
