//! The JSON Pointer of a claim (RFC 6901).

use serde_json::{Map, Value};

/// A pointer into claims. Claims are a map and not a `Value`, so the first token is stored
/// unescaped and looked up in the map; `serde_json` resolves the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPointer {
    text: String,
    first: String,
    /// Where in the text the second token begins, with its slash.
    rest: usize,
}

/// The value is not a JSON Pointer to a claim (RFC 6901, section 3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?}: expected a JSON Pointer to a claim, such as /jti, of at most {} bytes (RFC 6901)",
    ClaimPointer::MAX
)]
pub struct ClaimPointerError {
    /// The value.
    pub value: String,
}

impl ClaimPointer {
    /// Length limit in bytes, so that a pointer and a value fit into the id of a revocation.
    pub(crate) const MAX: usize = 256;

    pub(crate) fn parse(text: &str) -> Result<Self, ClaimPointerError> {
        let refused = || ClaimPointerError { value: text.to_owned() };
        let tokens = text.strip_prefix('/').filter(|_| text.len() <= Self::MAX).ok_or_else(refused)?;
        let rest = 1 + tokens.find('/').unwrap_or(tokens.len());
        let mut tokens = tokens.split('/').map(|token| unescape(token).ok_or_else(refused));
        let first = tokens.next().expect("a split has a first part")?;
        tokens.try_for_each(|token| token.map(drop))?;
        Ok(Self { text: text.to_owned(), first, rest })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the value pointed at (section 4); `None` if there is none.
    pub(crate) fn resolve<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        claims.get(&self.first)?.pointer(&self.text[self.rest..])
    }
}

/// `~1` is `/`, `~0` is `~`, and nothing else begins with `~` (section 3).
fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(1)?;
        text.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The document of RFC 6901, section 5.
    fn document() -> Map<String, Value> {
        let Value::Object(members) = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8
        }) else {
            unreachable!("it is an object")
        };
        members
    }

    #[test]
    fn the_examples_of_rfc_6901() {
        let examples = [
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
            assert_eq!(ClaimPointer::parse(pointer).unwrap().resolve(&document()), Some(&value), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for pointer in ["/bar", "/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/+1", "/foo/", "/m~0n/x"] {
            assert_eq!(ClaimPointer::parse(pointer).unwrap().resolve(&document()), None, "{pointer}");
        }
        assert_eq!(ClaimPointer::parse("/foo/99999999999999999999").unwrap().resolve(&document()), None);
    }

    #[test]
    fn an_escape_is_read_once() {
        assert_eq!(unescape("~01").as_deref(), Some("~1"));
        assert_eq!(unescape("a~1~0b").as_deref(), Some("a/~b"));
    }

    #[test]
    fn an_error_names_the_value() {
        for wrong in ["", "jti", "#/jti", "/~", "/a~2", "/a~é", "/ok/~"] {
            let error = ClaimPointer::parse(wrong).unwrap_err();
            assert_eq!(error.value, wrong);
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
