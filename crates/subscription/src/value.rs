//! JSON values as keys: equal where JSON says so.

use serde_json::Value;

/// A value that constraints compare (RIG): `1` equals `1.0`, not `"1"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Bool(bool),
    Integer(i128),
    /// The bits of a number that is no integer.
    Fraction(u64),
    Text(Box<str>),
    /// An object or a list, as canonical JSON: serde_json sorts the members.
    Composite(Box<str>),
}

impl Key {
    /// The key of a value; `None` for null, which equals nothing.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => {
                if let Some(integer) = number.as_i64() {
                    Self::Integer(integer.into())
                } else if let Some(integer) = number.as_u64() {
                    Self::Integer(integer.into())
                } else {
                    let float = number.as_f64()?;
                    // Every float of this size without a fraction is an i128 exactly.
                    if float.fract() == 0.0 && float.abs() < 1e30 {
                        Self::Integer(float as i128)
                    } else {
                        Self::Fraction(float.to_bits())
                    }
                }
            }
            Value::String(text) => Self::Text(text.as_str().into()),
            composite => Self::Composite(canonical(composite).into()),
        })
    }
}

/// Numbers inside compare as numbers do outside.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.iter().map(|(name, value)| format!("{name:?}:{}", canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Null => "null".to_owned(),
        other => format!("{:?}", Key::of(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn equal(left: Value, right: Value) -> bool {
        Key::of(&left) == Key::of(&right)
    }

    #[test]
    fn values_are_equal_as_json_says() {
        assert!(equal(json!(1), json!(1.0)));
        assert!(!equal(json!(1), json!("1")));
        assert!(!equal(json!(1), json!(true)));
        assert!(equal(json!(-0.0), json!(0)));
        assert!(equal(json!({"a": 1, "b": [2.0]}), json!({"b": [2], "a": 1.0})));
        assert!(!equal(json!({"a": 1}), json!({"a": "1"})));
        assert!(equal(json!(u64::MAX), json!(u64::MAX)));
        assert!(!equal(json!(1.5), json!(1)));
        assert_eq!(Key::of(&json!(null)), None);
    }
}
