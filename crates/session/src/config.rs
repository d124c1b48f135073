//! Which claim names the session (RIG: `JWT_SESSION_FIELD`).

use serde_json::{Map, Value};

use crate::name::{NameError, SessionName};

/// The configuration of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    jwt_session_field: String,
    /// The reference tokens of the pointer, unescaped.
    path: Vec<String>,
}

/// The value is not a JSON Pointer to a claim (RFC 6901, section 3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: a JSON Pointer to a claim, such as /jti (RFC 6901)")]
pub struct PointerError;

/// The claims name no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The claim is not there.
    #[error("the claim {field} is missing")]
    Missing {
        /// The JSON Pointer of the claim.
        field: String,
    },
    /// The claim is there, and cannot name a session.
    #[error("the claim {field} cannot name a session: {reason}")]
    Invalid {
        /// The JSON Pointer of the claim.
        field: String,
        /// Why.
        reason: &'static str,
    },
}

impl Config {
    /// A configuration with this claim, a JSON Pointer.
    ///
    /// # Errors
    /// The pointer is empty, does not begin with `/`, or has a `~` that escapes nothing.
    pub fn new(jwt_session_field: &str) -> Result<Self, PointerError> {
        let tokens = jwt_session_field.strip_prefix('/').ok_or(PointerError)?;
        let path = tokens.split('/').map(unescape).collect::<Option<_>>().ok_or(PointerError)?;
        Ok(Self { jwt_session_field: jwt_session_field.to_owned(), path })
    }

    /// The JSON Pointer of the session claim.
    pub fn jwt_session_field(&self) -> &str {
        &self.jwt_session_field
    }

    /// The session that these claims name. An integer names the session of its decimal digits (d09).
    ///
    /// # Errors
    /// The claim is missing, or is neither a text nor an integer.
    pub fn session_name(&self, claims: &Map<String, Value>) -> Result<SessionName, ClaimError> {
        let field = || self.jwt_session_field.clone();
        let invalid = |reason| ClaimError::Invalid { field: field(), reason };
        let text = match self.resolve(claims) {
            None => return Err(ClaimError::Missing { field: field() }),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
            Some(_) => return Err(invalid("neither a text nor an integer")),
        };
        text.parse().map_err(|error| match error {
            NameError::Empty => invalid("empty"),
            NameError::TooLong => invalid("too long"),
        })
    }

    fn resolve<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.path.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, token| match value {
            Value::Object(members) => members.get(token),
            Value::Array(items) => items.get(index(token)?),
            _ => None,
        })
    }
}

impl Default for Config {
    /// RIG's: `/jti`.
    fn default() -> Self {
        Self::new("/jti").expect("/jti is a JSON Pointer")
    }
}

/// `~1` is `/`, `~0` is `~`, and nothing else begins with `~` (RFC 6901, section 3).
fn unescape(token: &str) -> Option<String> {
    let mut text = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(next) = rest.next() {
        text.push(match next {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

/// An array index: digits without leading zeros (RFC 6901, section 4).
fn index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|b| b.is_ascii_digit()) && (token.len() == 1 || !token.starts_with('0'));
    digits.then(|| token.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(pointer: &str, claims: Value) -> Result<String, ClaimError> {
        let name = Config::new(pointer).unwrap().session_name(claims.as_object().unwrap());
        name.map(|name| name.to_string())
    }

    #[test]
    fn the_pointer_finds_the_claim() {
        assert_eq!(name("/jti", json!({"jti": "a"})).unwrap(), "a");
        assert_eq!(name("/realm/session", json!({"realm": {"session": "b"}})).unwrap(), "b");
        assert_eq!(name("/a~1b/m~0n", json!({"a/b": {"m~n": "c"}})).unwrap(), "c");
        assert_eq!(name("/list/1", json!({"list": ["x", "d"]})).unwrap(), "d");
        assert!(matches!(name("/list/01", json!({"list": ["x", "d"]})), Err(ClaimError::Missing { .. })));
        assert!(matches!(name("/jti", json!({})), Err(ClaimError::Missing { .. })));
    }

    #[test]
    fn d09_an_integer_is_its_digits_and_anything_else_names_the_claim() {
        assert_eq!(name("/jti", json!({"jti": 77})).unwrap(), "77");
        assert_eq!(name("/jti", json!({"jti": -1})).unwrap(), "-1");
        assert_eq!(name("/jti", json!({"jti": u64::MAX})).unwrap(), u64::MAX.to_string());
        for wrong in
            [json!(1.5), json!(null), json!(true), json!([]), json!({}), json!(""), json!("x".repeat(2000))]
        {
            let error = name("/jti", json!({"jti": wrong})).unwrap_err();
            assert!(matches!(&error, ClaimError::Invalid { field, .. } if field == "/jti"), "{error}");
        }
    }

    #[test]
    fn what_is_no_pointer_to_a_claim_is_refused() {
        for wrong in ["", "jti", "/~", "/a~2"] {
            assert_eq!(Config::new(wrong), Err(PointerError), "{wrong}");
        }
    }
}
