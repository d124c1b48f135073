//! The value of a number, from its text and in bounded work: an exponent is never written out.

use std::fmt::Write;

use serde_json::Number;

/// A number in normal form. Equal forms are equal numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Normal {
    /// A whole number that fits, however it was written.
    Integer(i64),
    /// Any other: `-15e-1` for -1.5, the digits without zeros at their ends.
    Decimal(Box<str>),
}

/// The most digits that an `i64` can have.
const DIGITS: usize = 19;

impl Normal {
    /// Reads a number of JSON (RFC 8259, section 6).
    ///
    /// If an exponent is beyond 128 bits, different spellings are different numbers.
    pub(crate) fn of(text: &str) -> Self {
        if let Ok(integer) = text.parse() {
            return Self::Integer(integer);
        }
        let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Self::Integer(0);
        }
        let zeros = all.len() - all.trim_end_matches('0').len();
        let shift = zeros as i128 - fraction.len() as i128;
        let power = exponent.parse::<i128>().ok().and_then(|exponent| exponent.checked_add(shift));
        match power {
            Some(power) => Self::integer(sign, digits, power)
                .map_or_else(|| Self::Decimal(format!("{sign}{digits}e{power}").into()), Self::Integer),
            None => {
                let exponent = exponent.trim_start_matches('+');
                Self::Decimal(format!("{sign}{digits}e{shift}e{exponent}").into())
            }
        }
    }

    /// Returns the integer of these digits and their power of ten, if it fits.
    fn integer(sign: &str, digits: &str, power: i128) -> Option<i64> {
        let zeros = usize::try_from(power).ok()?;
        if digits.len().checked_add(zeros)? > DIGITS {
            return None;
        }
        format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok()
    }

    /// Writes the normal form.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Integer(integer) => write!(out, "{integer}").expect("a String takes everything"),
            Self::Decimal(decimal) => out.push_str(decimal),
        }
    }
}

/// Returns a whole number, however it is written (`60`, `60.0`, `6e1`); `None` if it has a fraction
/// or more than 64 bits.
pub fn whole(number: &Number) -> Option<i64> {
    match Normal::of(number.as_str()) {
        Normal::Integer(integer) => Some(integer),
        Normal::Decimal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f42_a_number_has_one_normal_form() {
        let long = "7".repeat(400);
        for same in [
            &["0", "-0", "0.0", "-0.000", "0e99", "0E-99999999999999999999999999999999999999999999"][..],
            &["1", "1.0", "1e0", "10e-1", "0.1e1", "1E+0", "100e-2", "0.000001e6"],
            &["100", "1e2", "1E2", "1E+2", "1e02", "10.0e1", "100.00"],
            &["-1.5", "-15e-1", "-0.15E1", "-1.500"],
            &["89490200001234567891", "8949020000123456789.1e1", "89490200001234567891.0"],
            &["9223372036854775807", "9223372036854775807.0", "922337203685477580.7e1"],
            &["-9223372036854775808", "-9223372036854775808e0"],
            &["9223372036854775808", "9223372036854775808.00"],
            &["1e400", "10e399", "0.1e401", &format!("1{}", "0".repeat(400))],
            &["1e-400", "0.1e-399", &format!("0.{}1", "0".repeat(399))],
            &[&long, &format!("{long}.0"), &format!("{long}000e-3")],
            &["1e999999999", "10e999999998", "0.1e1000000000"],
            &["1e170141183460469231731687303715884105727", "10e170141183460469231731687303715884105726"],
        ] {
            for other in same {
                assert_eq!(Normal::of(other), Normal::of(same[0]), "{other} {}", same[0]);
            }
        }
    }

    #[test]
    fn f42_a_whole_number_is_whole_however_it_is_written() {
        let whole = |text| super::whole(&serde_json::from_str(text).unwrap());
        for text in ["60", "60.0", "6e1", "0.6e2", "600e-1"] {
            assert_eq!(whole(text), Some(60), "{text}");
        }
        for text in ["60.5", "1e-1", "9223372036854775808", "1e400"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn f42_numbers_that_are_close_stay_apart() {
        let long = "7".repeat(399);
        let apart = [
            "0",
            "1",
            "-1",
            "10",
            "1e-400",
            "1e400",
            "1e401",
            "-1e400",
            "1e-401",
            "1.5",
            "1.50000000000000000001",
            "0.1",
            "0.1000000000000000055511151231257827",
            "89490200001234567890",
            "89490200001234567891",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.5",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "1e999999999",
            "1e999999998",
            "1e99999999999999999999999999999999999999999",
            "1e99999999999999999999999999999999999999998",
            "10e99999999999999999999999999999999999999998",
            "1e-99999999999999999999999999999999999999999",
            &format!("{long}1"),
            &format!("{long}2"),
        ];
        for (at, left) in apart.iter().enumerate() {
            for right in &apart[..at] {
                assert_ne!(Normal::of(left), Normal::of(right), "{left} {right}");
            }
        }
    }

    #[test]
    fn a_normal_form_is_not_longer_than_what_it_is_of() {
        for text in ["1e999999999", "1e-999999999", "1.5", "-1e99999999999999999999999999999999999999999"] {
            let mut written = String::new();
            Normal::of(text).write(&mut written);
            assert!(written.len() < text.len() + 40, "{written}");
        }
    }

    proptest! {
        /// The same number, with its point and its zeros elsewhere.
        #[test]
        fn a_point_may_stand_anywhere(digits in "[1-9][0-9]{0,40}", zeros in 0usize..5, power in -60i64..60, point in 1usize..40) {
            let plain = format!("{digits}e{power}");
            let at = point.min(digits.len());
            let moved = power + (digits.len() - at) as i64;
            let fraction = format!("{}{}", &digits[at..], "0".repeat(zeros + 1));
            let other = format!("{}.{fraction}E{moved:+}", &digits[..at]);
            prop_assert_eq!(Normal::of(&plain), Normal::of(&other));
        }

        #[test]
        fn doubles_that_differ_differ(left in any::<f64>(), right in any::<f64>()) {
            prop_assume!(left.is_finite() && right.is_finite());
            prop_assert_eq!(Normal::of(&left.to_string()) == Normal::of(&right.to_string()), left == right);
        }
    }
}
