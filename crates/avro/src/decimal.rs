//! Decimal numbers as text (Avro specification, "Decimal").

use num_bigint::BigInt;

/// Limit of the bytes of an unscaled value. Converting between bytes and digits takes time that
/// grows with the square of the length.
pub(crate) const MOST_BYTES: usize = 512;

/// Limit of the digits of a value, and of a scale: what fits into `MOST_BYTES`.
pub(crate) const MOST_DIGITS: usize = 1_200;

/// Limit of the exponent of a number in JSON, either way.
const LARGEST_EXPONENT: i64 = 10_000;

/// Formats an unscaled value in two's complement, big-endian. The scale is at most `MOST_DIGITS`.
/// `None` if the value is longer than `MOST_BYTES`.
pub(crate) fn format(bytes: &[u8], scale: usize) -> Option<String> {
    if bytes.len() > MOST_BYTES {
        return None;
    }
    let text = BigInt::from_signed_bytes_be(bytes).to_string();
    if scale == 0 {
        return Some(text);
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, places) = digits.split_at(digits.len() - scale);
    Some(format!("{sign}{whole}.{places}"))
}

/// Parses a number as JSON writes it, into an unscaled value in two's complement, big-endian.
///
/// # Errors
/// Fails if the text is not a number, or the number needs more digits or decimal places than
/// `precision` and `scale` allow.
pub(crate) fn parse(text: &str, precision: usize, scale: usize) -> Result<Vec<u8>, &'static str> {
    const NOT_DECIMAL: &str = "expected a decimal number";
    const TOO_LARGE: &str = "more digits than the decimal has";
    const TOO_PRECISE: &str = "more decimal places than the decimal has";
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i64 = exponent.parse().map_err(|_| NOT_DECIMAL)?;
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || mantissa.ends_with('.') || !all_digits(whole) || !all_digits(places) {
        return Err(NOT_DECIMAL);
    }
    let joined = [whole, places].concat();
    let mut digits = joined.trim_start_matches('0').to_owned();
    if digits.is_empty() {
        return Ok(vec![0]);
    }
    if exponent.abs() > LARGEST_EXPONENT {
        return Err(if exponent > 0 { TOO_LARGE } else { TOO_PRECISE });
    }
    let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let shift = length(scale).saturating_add(exponent).saturating_sub(length(places.len()));
    let most = length(precision.min(MOST_DIGITS));
    if length(digits.len()).saturating_add(shift) > most {
        return Err(TOO_LARGE);
    }
    let moved = usize::try_from(shift.unsigned_abs()).unwrap_or(usize::MAX);
    if shift < 0 {
        let kept = digits.len().saturating_sub(moved);
        if digits[kept..].bytes().any(|digit| digit != b'0') || kept == 0 {
            return Err(TOO_PRECISE);
        }
        digits.truncate(kept);
    } else {
        digits.extend(std::iter::repeat_n('0', moved));
    }
    let unscaled: BigInt = digits.parse().map_err(|_| NOT_DECIMAL)?;
    Ok(if negative { -unscaled } else { unscaled }.to_signed_bytes_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_text_with_the_places_of_the_scale() {
        for (bytes, scale, text) in [
            (&[0x04, 0xd2][..], 2, "12.34"),
            (&[0xfb, 0x2e], 2, "-12.34"),
            (&[0x05], 3, "0.005"),
            (&[0xfb], 3, "-0.005"),
            (&[0x00], 2, "0.00"),
            (&[], 1, "0.0"),
            (&[0x7f], 0, "127"),
            (&[0xff, 0xff, 0xfe], 0, "-2"),
        ] {
            assert_eq!(format(bytes, scale).as_deref(), Some(text));
        }
        assert_eq!(format(&[0x7f; MOST_BYTES + 1], 0), None);
        let largest = format(&[0x7f; MOST_BYTES], MOST_DIGITS).unwrap();
        assert!(largest.len() <= MOST_DIGITS + 50);
    }

    #[test]
    fn numbers_become_unscaled_values() {
        for (text, expected) in [
            ("12.34", Ok(vec![0x04, 0xd2])),
            ("-12.34", Ok(vec![0xfb, 0x2e])),
            ("12.340", Ok(vec![0x04, 0xd2])),
            ("1.234e1", Ok(vec![0x04, 0xd2])),
            ("1234E-2", Ok(vec![0x04, 0xd2])),
            ("0012.34", Ok(vec![0x04, 0xd2])),
            ("0e99999", Ok(vec![0])),
            ("-0.00", Ok(vec![0])),
            ("12.345", Err("more decimal places than the decimal has")),
            ("0.001", Err("more decimal places than the decimal has")),
            ("1e-99999", Err("more decimal places than the decimal has")),
            ("1000", Err("more digits than the decimal has")),
            ("1e9999", Err("more digits than the decimal has")),
            ("1e99999999999", Err("more digits than the decimal has")),
            ("", Err("expected a decimal number")),
            ("-", Err("expected a decimal number")),
            ("1.", Err("expected a decimal number")),
            (".5", Err("expected a decimal number")),
            ("1e", Err("expected a decimal number")),
            ("NaN", Err("expected a decimal number")),
            ("1_0", Err("expected a decimal number")),
            ("--1", Err("expected a decimal number")),
        ] {
            assert_eq!(parse(text, 5, 2), expected, "{text}");
        }
        let most = "9".repeat(MOST_DIGITS);
        assert!(parse(&most, usize::MAX, 0).unwrap().len() <= MOST_BYTES);
        assert!(parse(&format!("{most}9"), usize::MAX, 0).is_err());
    }
}
