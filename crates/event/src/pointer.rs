//! JSON Pointer: RFC 6901.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// Length limit of a pointer, in bytes. A document has at most 128 levels, so a longer pointer is
/// useless.
const MAX_POINTER: usize = 4096;

/// A JSON Pointer (RFC 6901) in its string form: the place of a value in a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: Box<str>,
    tokens: Box<[Box<str>]>,
}

/// Why a text is not a JSON Pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// RFC 6901, section 3: every token starts with a slash; only the empty pointer has none.
    #[error("a JSON Pointer is empty or starts with \"/\"")]
    NoSlash,
    /// RFC 6901, section 3: `~` must be part of an escape, `~0` or `~1`.
    #[error("in a JSON Pointer \"~\" must be followed by 0 or 1; the one at offset {at} is not")]
    BadEscape {
        /// Offset of the tilde in bytes.
        at: usize,
    },
    /// It exceeds the limit.
    #[error("the JSON Pointer is {length} bytes long, at most {MAX_POINTER} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl Pointer {
    /// Parses the string form; the URI fragment form (`#/a`, section 6) is not supported.
    ///
    /// # Errors
    /// See [`PointerError`].
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.len() > MAX_POINTER {
            return Err(PointerError::TooLong { length: text.len() });
        }
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NoSlash);
        }
        let bad =
            text.match_indices('~').find(|(at, _)| !matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
        if let Some((at, _)) = bad {
            return Err(PointerError::BadEscape { at });
        }
        // `~1` is replaced before `~0`, so that `~01` becomes `~1` and not a slash (section 4).
        let tokens = text.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~").into());
        Ok(Self { text: text.into(), tokens: tokens.collect() })
    }

    /// Returns the value that the pointer points to; `None` if there is none, whatever the reason.
    /// Indices are decimal without leading zeros; `-`, the element after the last one, never exists
    /// (section 4).
    pub fn resolve<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.tokens.iter().try_fold(document, |value, token| match value {
            Value::Object(members) => members.get(&**token),
            Value::Array(elements) => elements.get(index(token)?),
            _ => None,
        })
    }

    /// Returns the pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the unescaped reference tokens.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|token| &**token)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses an `array-index` (RFC 6901, section 4).
pub(crate) fn index(token: &str) -> Option<usize> {
    let canonical = token == "0" || !token.starts_with(['0', '+']);
    if canonical { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve<'v>(pointer: &str, document: &'v Value) -> Option<&'v Value> {
        Pointer::parse(pointer).unwrap().resolve(document)
    }

    #[test]
    fn the_examples_of_rfc_6901_section_5() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        });
        let examples = [
            ("", document.clone()),
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/e^f", json!(3)),
            ("/g|h", json!(4)),
            ("/i\\j", json!(5)),
            ("/k\"l", json!(6)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ];
        for (pointer, value) in examples {
            assert_eq!(resolve(pointer, &document), Some(&value), "{pointer:?}");
            let parsed = Pointer::parse(pointer).unwrap();
            let document = document.to_string();
            let found = crate::PointerTree::new([&parsed]).extract(document.as_bytes());
            assert_eq!(found, [Some(value.to_string().as_str())], "{pointer:?}");
        }
    }

    #[test]
    fn an_escaped_tilde_before_a_one_is_no_slash() {
        let document = json!({"~1": "tilde one", "/": "slash"});
        assert_eq!(resolve("/~01", &document), Some(&json!("tilde one")));
        assert_eq!(resolve("/~1", &document), Some(&json!("slash")));
    }

    #[test]
    fn indices_are_canonical() {
        let document = json!([["x"], {"00": 1, "-": 2, "+0": 3}]);
        assert_eq!(resolve("/0/0", &document), Some(&json!("x")));
        for nothing in
            ["/0/00", "/00/0", "/0/-", "/-", "/+0", "/0/1", "/ 0", "/0 ", "/٠", "/99999999999999999999999"]
        {
            assert_eq!(resolve(nothing, &document), None, "{nothing:?}");
        }
        assert_eq!(resolve("/1/00", &document), Some(&json!(1)));
        assert_eq!(resolve("/1/-", &document), Some(&json!(2)));
        assert_eq!(resolve("/1/+0", &document), Some(&json!(3)));
    }

    #[test]
    fn what_is_no_pointer() {
        assert_eq!(Pointer::parse("a"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("#/a"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("/a~"), Err(PointerError::BadEscape { at: 2 }));
        assert_eq!(Pointer::parse("/~0~2"), Err(PointerError::BadEscape { at: 3 }));
        assert_eq!(Pointer::parse(&"/".repeat(4097)), Err(PointerError::TooLong { length: 4097 }));
        assert_eq!(Pointer::parse("/a~1b").unwrap().to_string(), "/a~1b");
    }
}
