//! The decimal digits of a JSON number, however it is written.

use crate::name::{NameError, SessionName};

/// Returns the digits of a whole number, without leading zeros and with a sign if it is negative:
/// `1000` for `1e3`, `100` for `100.0`, `0` for `-0`. The number may have any size, since its text
/// is read (RFC 8259, section 6).
///
/// # Errors
/// Fails if the number has a fraction, or more digits than a name may have.
pub(crate) fn whole(number: &str) -> Result<String, NameError> {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_end_matches('0');
    let leading = digits.len() - digits.trim_start_matches('0').len();
    if leading == digits.len() {
        return Ok("0".to_owned());
    }
    // An exponent beyond this range moves the point beyond the length of every name.
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') { i32::MIN } else { i32::MAX });
    let point = i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(exponent.into());
    let Ok(point) = usize::try_from(point) else { return Err(NameError::Fraction) };
    if point < digits.len() {
        return Err(NameError::Fraction);
    }
    if point - leading + sign.len() > SessionName::MAX {
        return Err(NameError::TooLong);
    }
    Ok(format!("{sign}{:0<1$}", &digits[leading..], point - leading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f41_a_whole_number_is_its_digits_however_it_is_written() {
        for (number, digits) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("7", "7"),
            ("-7", "-7"),
            ("100", "100"),
            ("100.0", "100"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1.50e1", "15"),
            ("-1.5e1", "-15"),
            ("0.001e3", "1"),
            ("10e-1", "1"),
            ("1000e-3", "1"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("1.2345678901234567890123e22", "12345678901234567890123"),
            ("0e99999999999999999999", "0"),
        ] {
            assert_eq!(whole(number).as_deref(), Ok(digits), "{number}");
        }
        for number in ["1.5", "-0.1", "1e-1", "15e-1", "1e-99999999999999999999", "123.4560e2"] {
            assert_eq!(whole(number), Err(NameError::Fraction), "{number}");
        }
        for number in ["1e1024", "-1e1023", "1e99999999999999999999", &"9".repeat(1025)] {
            assert_eq!(whole(number), Err(NameError::TooLong), "{number}");
        }
        assert_eq!(whole("1e1023").map(|digits| digits.len()), Ok(1024));
    }
}
