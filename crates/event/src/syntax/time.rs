//! Timestamps: RFC 3339, section 5.6. Only checked, never converted: clients get the original text.

/// Returns `true` if this is a `date-time`.
pub(crate) fn is_time(text: &str) -> bool {
    let Some((date, clock)) = text.split_at_checked(10) else { return false };
    is_date(date) && is_clock(clock).unwrap_or(false)
}

fn is_date(date: &str) -> bool {
    let bytes = date.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let parts = (number(&bytes[..4]), number(&bytes[5..7]), number(&bytes[8..]));
    let (Some(year), Some(month), Some(day)) = parts else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Checks the time, such as `T17:31:00.25Z`; the letters are case-insensitive (RFC 3339, section
/// 5.6).
fn is_clock(clock: &str) -> Option<bool> {
    let (fixed, rest) = clock.as_bytes().split_at_checked(9)?;
    let [b'T' | b't', _, _, b':', _, _, b':', _, _] = fixed else { return None };
    let (hour, minute, second) = (number(&fixed[1..3])?, number(&fixed[4..6])?, number(&fixed[7..9])?);
    // A second of 60 is a leap second.
    let in_range = hour <= 23 && minute <= 59 && second <= 60;
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (digits > 0).then(|| &fraction[digits..])?
        }
        None => rest,
    };
    Some(in_range && is_offset(rest).unwrap_or(false))
}

fn is_offset(offset: &[u8]) -> Option<bool> {
    match offset {
        [b'Z' | b'z'] => Some(true),
        [b'+' | b'-', hour @ .., b':', m1, m2] if hour.len() == 2 => {
            Some(number(hour)? <= 23 && number(&[*m1, *m2])? <= 59)
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rfc_3339() {
        for good in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "1990-12-31T23:59:60Z",
            "1937-01-01T12:00:27.87+00:20",
            "2024-02-29t00:00:00z",
            "2000-02-29T00:00:00.000000000-23:59",
            "0000-01-01T00:00:00Z",
        ] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00,5Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+00:60",
            "2024-01-01T00:00:00+0100",
            "2024-01-01T00:00:00+01",
            "2024-01-01T00:00:00Z ",
            "+2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00+1:000",
            "２024-01-01T00:00:00Z",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }
}
