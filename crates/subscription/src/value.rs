//! JSON values as keys: equal where JSON says so.

use std::fmt::Write;

use serde_json::{Number, Value};

/// A value that a constraint waits for. Two are equal as JSON values are (RIG): `1` equals `1.0`, not `"1"`; the order
/// of an object's members does not count. Ordered only so that equal conjunctions can be found by sorting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Bool(bool),
    Integer(i64),
    /// An integer beyond `i64`.
    Unsigned(u64),
    /// The bits of a number that is no integer of 64 bits.
    Fraction(u64),
    Text(Box<str>),
    /// An object or a list in canonical form.
    Composite(Box<str>),
}

impl Key {
    /// The key of a value; `None` for null, which equals nothing.
    pub(crate) fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::of_number(&number),
            Value::String(text) => Self::Text(text.into()),
            composite => {
                let mut canonical = String::new();
                write_canonical(&composite, &mut canonical);
                Self::Composite(canonical.into())
            }
        })
    }

    fn of_number(number: &Number) -> Self {
        if let Some(integer) = number.as_i64() {
            return Self::Integer(integer);
        }
        if let Some(integer) = number.as_u64() {
            return Self::Unsigned(integer);
        }
        let float = number.as_f64().expect("a number that is no integer is a float");
        // The ends of both ranges are powers of two, floats themselves: within them no cast rounds.
        if float.fract() != 0.0 {
            Self::Fraction(float.to_bits())
        } else if (-TWO_TO_63..TWO_TO_63).contains(&float) {
            Self::Integer(float as i64)
        } else if (TWO_TO_63..TWO_TO_63 * 2.0).contains(&float) {
            Self::Unsigned(float as u64)
        } else {
            Self::Fraction(float.to_bits())
        }
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Members sorted by name, numbers as [`Key`] tells them apart. It is written into one buffer: deep nesting must not
/// cost a copy for each level.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            let written = match Key::of_number(number) {
                Key::Integer(integer) => write!(out, "{integer}"),
                Key::Unsigned(integer) => write!(out, "{integer}"),
                Key::Fraction(bits) => write!(out, "f{bits:x}"),
                other => unreachable!("{other:?} is no number"),
            };
            written.expect("a String takes everything");
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, value) in members {
                write_text(name, out);
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
    }
}

/// With its length in front, so that no text can look like structure.
fn write_text(text: &str, out: &mut String) {
    write!(out, "{}:{text}", text.len()).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn equal(left: Value, right: Value) -> bool {
        Key::of(left) == Key::of(right)
    }

    #[test]
    fn numbers_are_equal_by_value() {
        assert!(equal(json!(1), json!(1.0)));
        assert!(equal(json!(100), serde_json::from_str("1e2").unwrap()));
        assert!(equal(json!(-0.0), json!(0)));
        assert!(!equal(json!(1.5), json!(1)));
        assert!(!equal(json!(1), json!(2)));
        assert!(equal(json!(1e300), serde_json::from_str("10e299").unwrap()));
    }

    #[test]
    fn numbers_at_the_ends_of_the_ranges_stay_apart() {
        assert!(equal(json!(9_223_372_036_854_775_808_u64), json!(TWO_TO_63)));
        assert!(equal(json!(i64::MIN), json!(-TWO_TO_63)));
        assert!(!equal(json!(i64::MAX), json!(TWO_TO_63)));
        assert!(!equal(json!(u64::MAX), json!(TWO_TO_63 * 2.0)));
        assert!(!equal(json!(u64::MAX), json!(u64::MAX - 1)));
    }

    #[test]
    fn kinds_are_never_equal() {
        let kinds =
            [json!(1), json!("1"), json!(true), json!("true"), json!([1]), json!({"1": 1}), json!("[1,]")];
        for (at, left) in kinds.iter().enumerate() {
            for (other, right) in kinds.iter().enumerate() {
                assert_eq!(equal(left.clone(), right.clone()), at == other, "{left} {right}");
            }
        }
        assert_eq!(Key::of(json!(null)), None);
    }

    #[test]
    fn composites_are_equal_in_depth() {
        assert!(equal(json!({"a": 1, "b": [2.0]}), json!({"b": [2], "a": 1.0})));
        assert!(!equal(json!({"a": 1}), json!({"a": "1"})));
        assert!(!equal(json!({"a": null}), json!({})));
        assert!(!equal(json!([1, 2]), json!([2, 1])));
        assert!(!equal(json!(["a,1:b"]), json!(["a", "b"])));
        assert!(!equal(json!([0.5]), json!(["f3fe0000000000000"])));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2i64..3).prop_map(Value::from),
            prop_oneof![Just(0.5), Just(1.0), Just(-2.0)].prop_map(Value::from),
            "[a:,0-2]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a:,1]{0,2}", inner, 0..3).prop_map(|members| json!(members)),
            ]
        })
    }

    /// Deep equality written down naively.
    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
            }
            _ => left == right,
        }
    }

    proptest! {
        #[test]
        fn keys_are_equal_where_values_are(left in value(), right in value()) {
            prop_assert_eq!(Key::of(json!([left])) == Key::of(json!([right])), same(&left, &right));
        }
    }
}
