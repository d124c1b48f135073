//! Which claim names the session (RIG: `JWT_SESSION_FIELD`).

use serde_json::{Map, Value};

use crate::name::{NameError, SessionName};
use crate::pointer::{Pointer, PointerError};

/// The configuration of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    jwt_session_field: Pointer,
}

/// The claims name no session. Holds the claim's place, never its value.
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
    /// A configuration with this claim, a JSON Pointer (RFC 6901).
    ///
    /// # Errors
    /// The pointer is empty (that is all claims, and no name), does not begin with `/`, or has a `~` that escapes
    /// nothing.
    pub fn new(jwt_session_field: &str) -> Result<Self, PointerError> {
        Ok(Self { jwt_session_field: Pointer::parse(jwt_session_field)? })
    }

    /// The JSON Pointer of the session claim.
    pub fn jwt_session_field(&self) -> &str {
        self.jwt_session_field.as_str()
    }

    /// The session that these claims name: a text, or an integer, which names the session of its decimal digits (d09).
    ///
    /// # Errors
    /// The claim is missing; or it is neither a text nor an integer of 64 bits, empty, or too long.
    pub fn session_name(&self, claims: &Map<String, Value>) -> Result<SessionName, ClaimError> {
        let field = || self.jwt_session_field().to_owned();
        let claim =
            self.jwt_session_field.resolve(claims).ok_or_else(|| ClaimError::Missing { field: field() })?;
        let name = match claim {
            Value::String(text) => text.parse(),
            Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string().parse(),
            _ => return Err(ClaimError::Invalid { field: field(), reason: "neither a text nor an integer" }),
        };
        name.map_err(|error| ClaimError::Invalid {
            field: field(),
            reason: match error {
                NameError::Empty => "empty",
                NameError::TooLong => "too long",
            },
        })
    }
}

impl Default for Config {
    /// RIG's: `/jti`.
    fn default() -> Self {
        Self::new("/jti").expect("/jti is a JSON Pointer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn name(pointer: &str, claims: &Value) -> Result<String, ClaimError> {
        let name = Config::new(pointer).unwrap().session_name(claims.as_object().unwrap());
        name.map(|name| name.to_string())
    }

    #[test]
    fn the_pointer_finds_the_claim() {
        assert_eq!(name("/jti", &json!({"jti": "a"})).unwrap(), "a");
        assert_eq!(name("/realm/session", &json!({"realm": {"session": "b"}})).unwrap(), "b");
        assert_eq!(name("/https:~1~1a.example~1sid", &json!({"https://a.example/sid": "c"})).unwrap(), "c");
        assert_eq!(name("/list/1", &json!({"list": ["x", "d"]})).unwrap(), "d");
    }

    #[test]
    fn a_claim_that_is_not_there_is_missing() {
        for claims in [json!({}), json!({"JTI": "a"}), json!({"x": {"jti": "a"}})] {
            assert_eq!(name("/jti", &claims), Err(ClaimError::Missing { field: "/jti".into() }));
        }
    }

    #[test]
    fn d09_an_integer_is_its_digits_and_anything_else_names_the_claim() {
        assert_eq!(name("/jti", &json!({"jti": 77})).unwrap(), "77");
        assert_eq!(name("/jti", &json!({"jti": -1})).unwrap(), "-1");
        assert_eq!(name("/jti", &json!({"jti": u64::MAX})).unwrap(), u64::MAX.to_string());
        let long = "x".repeat(2000);
        for wrong in [
            json!(1.5),
            json!(1e30),
            json!(null),
            json!(true),
            json!(["a"]),
            json!({}),
            json!(""),
            json!(long),
        ] {
            let error = name("/jti", &json!({"jti": wrong})).unwrap_err();
            assert!(matches!(&error, ClaimError::Invalid { field, .. } if field == "/jti"), "{error}");
            assert!(!error.to_string().contains("xx"), "the value is in the text");
        }
    }
}
