//! JSON values as keys: equal where JSON says so.

use std::fmt::Write;

use serde_json::Value;

use crate::number::Normal;

/// A value to look up by. Two are equal as JSON values are: `1` equals `1.0`, not `"1"`; the order
/// of an object's members does not count. Ordered only so that equal conjunctions can be found by
/// sorting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueKey {
    /// A boolean.
    Bool(bool),
    /// A whole number of 64 bits.
    Integer(i64),
    /// Any other number, in normal form.
    Decimal(Box<str>),
    /// A string.
    Text(Box<str>),
    /// An object or a list in canonical form.
    Composite(Box<str>),
}

impl ValueKey {
    /// Returns the key of a value; `None` for null, which equals nothing.
    pub fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::of_number(number.as_str()),
            Value::String(text) => Self::Text(text.into()),
            composite => {
                let mut canonical = String::new();
                write_canonical(&composite, &mut canonical);
                Self::Composite(canonical.into())
            }
        })
    }

    /// Returns the key of a value in JSON text, without space around it; `None` for null, and for
    /// text that is not JSON.
    pub fn of_json(json: &str) -> Option<Self> {
        match json.as_bytes() {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => {
                Some(Self::Text(json[1..json.len() - 1].into()))
            }
            [b'-' | b'0'..=b'9', ..] => Some(Self::of_number(json)),
            _ => serde_json::from_str(json).ok().and_then(Self::of),
        }
    }

    fn of_number(text: &str) -> Self {
        match Normal::of(text) {
            Normal::Integer(integer) => Self::Integer(integer),
            Normal::Decimal(decimal) => Self::Decimal(decimal),
        }
    }
}

/// Returns `true` if two values have equal keys; null equals null.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || Normal::of(left.as_str()) == Normal::of(right.as_str())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// Writes the canonical form: members sorted by name, numbers as [`ValueKey`] distinguishes them.
/// Into one buffer, since deep nesting must not cost a copy for each level.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => Normal::of(number.as_str()).write(out),
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

/// Writes a text after its length, so that no text can look like structure.
fn write_text(text: &str, out: &mut String) {
    write!(out, "{}:{text}", text.len()).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn equal(left: Value, right: Value) -> bool {
        let equal = ValueKey::of(left.clone()) == ValueKey::of(right.clone());
        assert_eq!(super::equal(&left, &right), equal, "{left} {right}");
        for value in [left, right] {
            assert_eq!(ValueKey::of_json(&value.to_string()), ValueKey::of(value.clone()), "{value}");
        }
        equal
    }

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
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
    fn f42_numbers_beyond_64_bits_are_exact_at_every_depth() {
        for (left, right) in [
            ("89490200001234567890", "89490200001234567891"),
            ("-89490200001234567890", "-89490200001234567891"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("1e400", "1e401"),
            ("1e-400", "0"),
        ] {
            for around in ["N", "[N]", r#"{"a":N}"#, r#"[[{"a":[1,N]}],"x"]"#] {
                let [left, right] = [left, right].map(|number| parsed(&around.replace('N', number)));
                assert!(equal(left.clone(), left.clone()) && equal(right.clone(), right.clone()));
                assert!(!equal(left.clone(), right.clone()), "{left} {right}");
            }
        }
        assert!(equal(parsed("[1e2, {\"a\": -0.0}]"), parsed("[100, {\"a\": 0}]")));
    }

    #[test]
    fn text_is_read_as_json_reads_it() {
        for text in
            [r#""a""#, r#""""#, r#""\u0061\n\\""#, r#""é""#, r#""\ud83d\ude00""#, "true", "null", "[ ]", "{}"]
        {
            assert_eq!(ValueKey::of_json(text), ValueKey::of(parsed(text)), "{text}");
        }
        for broken in [r#""\ud800""#, "", "tru", "[1", "\"", &"[".repeat(1000)] {
            assert_eq!(ValueKey::of_json(broken), None, "{broken}");
        }
    }

    #[test]
    fn numbers_at_the_ends_of_the_ranges_stay_apart() {
        let (two_to_63, two_to_64) = (parsed("9.223372036854775808e18"), parsed("1.8446744073709551616e19"));
        assert!(equal(json!(9_223_372_036_854_775_808_u64), two_to_63.clone()));
        assert!(equal(json!(i64::MIN), parsed("-9.223372036854775808e18")));
        assert!(!equal(json!(i64::MAX), two_to_63));
        assert!(!equal(json!(u64::MAX), two_to_64));
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
        assert_eq!(ValueKey::of(json!(null)), None);
    }

    #[test]
    fn composites_are_equal_in_depth() {
        assert!(equal(json!({"a": 1, "b": [2.0]}), json!({"b": [2], "a": 1.0})));
        assert!(!equal(json!({"a": 1}), json!({"a": "1"})));
        assert!(!equal(json!({"a": null}), json!({})));
        assert!(!equal(json!([1, 2]), json!([2, 1])));
        assert!(!equal(json!(["a,1:b"]), json!(["a", "b"])));
        assert!(!equal(json!([0.5]), json!(["5e-1"])));
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
            prop_assert_eq!(ValueKey::of(json!([left])) == ValueKey::of(json!([right])), same(&left, &right));
        }
    }
}
