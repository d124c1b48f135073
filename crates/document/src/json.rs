//! JSON in which no object has a member twice.
//!
//! RFC 8259, section 4, leaves open which of two members of the same name counts. A reviewer could
//! read one of them and the gateway the other, in a document that decides who gets access. So such
//! a document is refused.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::pointer::child;

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON (RFC 8259).
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// An object has a member twice.
    #[error("{pointer}: given more than once (line {line}, column {column})")]
    Duplicate {
        /// The JSON Pointer of the member (RFC 6901).
        pointer: String,
        /// The line of the second one, from 1.
        line: usize,
        /// Its column in bytes, from 1.
        column: usize,
    },
}

/// Reads a document.
///
/// # Errors
/// Fails if the text is not JSON, or one of its objects has a member twice, escapes resolved.
pub fn from_slice(json: &[u8]) -> Result<Value, JsonError> {
    let json = json::without_mark(json);
    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let reader = UniqueReader { place: DocumentPath::Top, duplicate: &duplicate };
    let read = reader.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| match duplicate.take() {
        Some(pointer) => JsonError::Duplicate { pointer, line: error.line(), column: error.column() },
        None => error.into(),
    })
}

/// Reads a document, as [`from_slice`] does.
///
/// # Errors
/// Fails as [`from_slice`] does.
pub fn from_str(json: &str) -> Result<Value, JsonError> {
    from_slice(json.as_bytes())
}

/// Where the reader is. Kept on the stack: a pointer is written only for an error.
enum DocumentPath<'p> {
    Top,
    Member(&'p DocumentPath<'p>, &'p str),
    Item(&'p DocumentPath<'p>, usize),
}

impl DocumentPath<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Member(parent, name) => child(&parent.pointer(), name),
            Self::Item(parent, index) => child(&parent.pointer(), &index.to_string()),
        }
    }
}

struct UniqueReader<'p> {
    place: DocumentPath<'p>,
    /// The pointer of the first duplicate member.
    duplicate: &'p RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for UniqueReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let below =
            |index| UniqueReader { place: DocumentPath::Item(&self.place, index), duplicate: self.duplicate };
        while let Some(item) = items.next_element_seed(below(list.len()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == json::NUMBER {
                let number = members.next_value::<String>()?.parse().map_err(A::Error::custom)?;
                return Ok(Value::Number(number));
            }
            let place = DocumentPath::Member(&self.place, &name);
            // Checked before the value is read, so that the error has the line and column of the
            // name.
            if object.contains_key(&name) {
                *self.duplicate.borrow_mut() = Some(place.pointer());
                return Err(A::Error::custom("given more than once"));
            }
            let value = members.next_value_seed(UniqueReader { place, duplicate: self.duplicate })?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> String {
        from_str(json).unwrap_err().to_string()
    }

    #[test]
    fn f06_a_member_that_is_there_twice_is_refused_with_its_place() {
        for (json, expected) in [
            (r#"{"a":1,"a":1}"#, "/a: given more than once (line 1, column 10)"),
            (
                r#"{"secured":true,"secur\u0065d":false}"#,
                "/secured: given more than once (line 1, column 30)",
            ),
            (
                "[{},\n {\"a/b\": [0, {\"~\": 1, \"~\": 2}]}]",
                "/1/a~1b/1/~0: given more than once (line 2, column 25)",
            ),
            (r#"{"":1,"":2}"#, "/: given more than once (line 1, column 8)"),
            (r#"{"a":{"b":1},"a":{"c":2}}"#, "/a: given more than once (line 1, column 16)"),
            (r#"{"é":1,"\u00e9":2}"#, "/é: given more than once (line 1, column 16)"),
        ] {
            assert_eq!(told(json), expected, "{json}");
        }
        let deep = format!("{}{{\"x\":0,\"x\":0}}{}", r#"{"a":["#.repeat(60), "]}".repeat(60));
        assert!(told(&deep).starts_with(&format!("{}/x: given", "/a/0".repeat(60))), "{}", told(&deep));
    }

    #[test]
    fn what_is_told_of_long_names_is_bounded() {
        let name = "x".repeat(1 << 20);
        assert!(told(&format!("{{\"{name}\":1,\"{name}\":2}}")).len() < 200);
    }

    #[test]
    fn all_else_reads_as_ever() {
        for json in [
            "null",
            "-1",
            "18446744073709551615",
            "1.5e300",
            "[1e999, -0, 1E+2, {\"a\": 89490200001234567891.10}]",
            r#""\ud83d\ude00""#,
            r#"[[], {}, {"A": 1, "a": 2, "b": {"a": [true, false, null]}}]"#,
            r#"{"$serde_json::private::RawValue": "1"}"#,
        ] {
            let read = from_str(json).unwrap();
            assert_eq!(from_str(&read.to_string()).unwrap(), read, "{json}");
            if !json.contains("RawValue") {
                assert_eq!(read, serde_json::from_str::<Value>(json).unwrap(), "{json}");
            }
        }
        for wrong in ["", "{", "{} {}", "[1,]", r#""\ud800""#, &"[".repeat(1000)] {
            let expected = serde_json::from_str::<Value>(wrong).unwrap_err().to_string();
            assert_eq!(told(wrong), expected, "{wrong}");
        }
    }

    #[test]
    fn f35_a_byte_order_mark_is_no_part_of_the_document() {
        assert_eq!(from_slice(b"\xef\xbb\xbf[1]").unwrap(), serde_json::json!([1]));
        assert!(matches!(from_slice(b"\xef\xbb\xbf\xef\xbb\xbf[1]"), Err(JsonError::Syntax(_))));
    }
}
