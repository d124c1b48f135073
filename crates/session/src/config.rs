//! Which claim names the session (RIG: `JWT_SESSION_FIELD`), which others tokens can be revoked by,
//! and what happens to connections when their tokens expire.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::name::{NameError, SessionName};
use crate::node_name::NodeName;
use crate::pointer::{ClaimPointer, ClaimPointerError};
use crate::selector::Selector;

/// The configuration of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    jwt_session_field: ClaimPointer,
    revocation_claims: Vec<(ClaimPointer, Arc<str>)>,
    expiry: Expiry,
    node: NodeName,
}

/// What happens to a connection whose token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is terminated with its token (d05).
    Ends {
        /// How long before that the connection is warned.
        warning: Duration,
        /// How long after its `exp` a token is still valid, because clocks differ.
        leeway: Duration,
    },
    /// It stays open (RIG).
    Ignored,
}

/// No token can have this selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens cannot be revoked by the claim {claim:?}; expected one of {expected}")]
pub struct SelectorError {
    /// The claim that was asked for.
    pub claim: String,
    /// The claims that are possible, separated by commas.
    pub expected: String,
}

/// A claim is missing or cannot be used. Holds the pointer to the claim, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The claim is missing.
    #[error("the claim {field} is missing")]
    Missing {
        /// The JSON Pointer of the claim.
        field: String,
    },
    /// The claim is present, but cannot name a session.
    #[error("the claim {field} cannot name a session: {reason}")]
    Invalid {
        /// The JSON Pointer of the claim.
        field: String,
        /// Why.
        reason: NameError,
    },
    /// The claim is present, but no revocation could select the token by it.
    #[error("the claim {field} cannot be revoked by: {reason}")]
    Irrevocable {
        /// The JSON Pointer of the claim.
        field: String,
        /// Why.
        reason: NameError,
    },
}

impl Config {
    /// Returns a configuration with this session claim, a JSON Pointer (RFC 6901).
    ///
    /// # Errors
    /// Fails if the pointer is empty (it would point to all claims), does not begin with `/`, or
    /// has a `~` that escapes nothing.
    pub fn new(jwt_session_field: &str) -> Result<Self, ClaimPointerError> {
        let pointer = ClaimPointer::parse(jwt_session_field)?;
        Ok(Self {
            jwt_session_field: pointer,
            revocation_claims: Vec::new(),
            expiry: Expiry::Ignored,
            node: NodeName::default(),
        })
    }

    /// Returns the configuration with further claims, given as JSON Pointers, that tokens can be
    /// revoked by.
    ///
    /// # Errors
    /// Fails if one is not a JSON Pointer to a claim.
    pub fn with_revocation_claims<'p>(
        mut self,
        pointers: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, ClaimPointerError> {
        for text in pointers {
            let pointer = ClaimPointer::parse(text)?;
            // Tokens are selected by their session anyway.
            let known = pointer == self.jwt_session_field
                || self.revocation_claims.iter().any(|(known, _)| *known == pointer);
            if !known {
                self.revocation_claims.push((pointer, text.into()));
            }
        }
        Ok(self)
    }

    /// Returns the configuration with another behaviour for connections whose tokens expire.
    #[must_use]
    pub fn with_expiry(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// Returns the configuration with another name of the node.
    #[must_use]
    pub fn with_node(self, node: NodeName) -> Self {
        Self { node, ..self }
    }

    /// Returns the name of the node, under which its receipts are stored.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// What happens to a connection whose token expires.
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// The JSON Pointers of the claims, beside the session's, that tokens can be revoked by.
    pub fn revocation_claims(&self) -> impl Iterator<Item = &str> {
        self.revocation_claims.iter().map(|(_, text)| &**text)
    }

    /// Returns the selector of tokens with this value of a claim.
    ///
    /// # Errors
    /// Fails if tokens cannot be revoked by this claim.
    pub fn selector(&self, claim: &str, value: SessionName) -> Result<Selector, SelectorError> {
        if claim == self.jwt_session_field() {
            return Ok(Selector::Session(value));
        }
        match self.revocation_claims.iter().find(|(_, text)| **text == *claim) {
            Some((_, claim)) => Ok(Selector::Claim { claim: claim.clone(), value }),
            None => {
                let names = [self.jwt_session_field()].into_iter().chain(self.revocation_claims());
                let expected = names.collect::<Vec<_>>().join(", ");
                Err(SelectorError { claim: claim.to_owned(), expected })
            }
        }
    }

    /// Converts a selector of an earlier configuration into one of this configuration.
    ///
    /// # Errors
    /// Fails if tokens can no longer be revoked by its claim.
    pub(crate) fn current(&self, selector: Selector) -> Result<Selector, SelectorError> {
        match selector {
            Selector::Session(name) => Ok(Selector::Session(name)),
            Selector::Claim { claim, value } => self.selector(&claim, value),
        }
    }

    /// Returns what these claims can be selected by, apart from the session. A claim that is null
    /// counts as missing.
    ///
    /// # Errors
    /// An item is an error if its claim cannot be a name: a token that no revocation could reach
    /// must be refused.
    pub(crate) fn revocable_claims<'c>(
        &'c self,
        claims: &'c Map<String, Value>,
    ) -> impl Iterator<Item = Result<(&'c Arc<str>, SessionName), ClaimError>> {
        self.revocation_claims.iter().filter_map(|(pointer, text)| {
            let name = SessionName::try_from(present(pointer, claims)?);
            Some(match name {
                Ok(name) => Ok((text, name)),
                Err(reason) => Err(ClaimError::Irrevocable { field: text.to_string(), reason }),
            })
        })
    }

    /// The JSON Pointer of the session claim.
    pub fn jwt_session_field(&self) -> &str {
        self.jwt_session_field.as_str()
    }

    /// Returns the session that these claims name: a string, or an integer, which stands for its
    /// decimal digits (d09).
    ///
    /// # Errors
    /// Fails if the claim is missing or null, neither a string nor an integer, empty, or too long.
    pub fn session_name(&self, claims: &Map<String, Value>) -> Result<SessionName, ClaimError> {
        let field = || self.jwt_session_field().to_owned();
        let claim = present(&self.jwt_session_field, claims);
        let claim = claim.ok_or_else(|| ClaimError::Missing { field: field() })?;
        claim.try_into().map_err(|reason| ClaimError::Invalid { field: field(), reason })
    }
}

/// Returns the claim at a pointer. A claim that is null counts as missing.
fn present<'c>(pointer: &ClaimPointer, claims: &'c Map<String, Value>) -> Option<&'c Value> {
    pointer.resolve(claims).filter(|claim| !claim.is_null())
}

impl Default for Config {
    /// Returns RIG's configuration: `/jti`, no other claims, and connections that outlive their
    /// tokens.
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
    fn other_claims_select_where_they_are_configured() {
        let config = Config::default().with_revocation_claims(["/sub", "/jti", "/sid", "/sub"]).unwrap();
        assert_eq!(config.revocation_claims().collect::<Vec<_>>(), ["/sub", "/sid"]);
        let found = |claims: Value| -> Result<Vec<_>, ClaimError> {
            let claims = claims.as_object().unwrap();
            config
                .revocable_claims(claims)
                .map(|one| one.map(|(claim, name)| format!("{claim}={name}")))
                .collect()
        };
        assert_eq!(found(json!({"sub": "alice", "sid": 7, "jti": "j"})).unwrap(), ["/sub=alice", "/sid=7"]);
        assert_eq!(found(json!({"sub": null})).unwrap(), [""; 0]);
        let name = |text: &str| text.parse::<SessionName>().unwrap();
        assert_eq!(config.selector("/jti", name("j")), Ok(Selector::Session(name("j"))));
        assert_eq!(config.selector("/sub", name("a")).unwrap().claim(), Some("/sub"));
        let error = config.selector("/role", name("a")).unwrap_err().to_string();
        assert_eq!(
            error,
            r#"tokens cannot be revoked by the claim "/role"; expected one of /jti, /sub, /sid"#
        );
    }

    #[test]
    fn a_claim_that_is_not_there_is_missing() {
        for claims in [json!({}), json!({"JTI": "a"}), json!({"x": {"jti": "a"}}), json!({"jti": null})] {
            assert_eq!(name("/jti", &claims), Err(ClaimError::Missing { field: "/jti".into() }));
        }
    }

    #[test]
    fn d09_an_integer_is_its_digits_and_anything_else_names_the_claim() {
        assert_eq!(name("/jti", &json!({"jti": 77})).unwrap(), "77");
        assert_eq!(name("/jti", &json!({"jti": -1})).unwrap(), "-1");
        assert_eq!(name("/jti", &json!({"jti": u64::MAX})).unwrap(), u64::MAX.to_string());
        let long = "x".repeat(2000);
        for wrong in [json!(1.5), json!(true), json!(["a"]), json!({}), json!(""), json!(long)] {
            let error = name("/jti", &json!({"jti": wrong})).unwrap_err();
            assert!(matches!(&error, ClaimError::Invalid { field, .. } if field == "/jti"), "{error}");
            assert!(!error.to_string().contains("xx"), "the value is in the text");
        }
    }

    #[test]
    fn f41_a_claim_that_no_revocation_reaches_is_an_error_that_names_it() {
        let config = Config::default().with_revocation_claims(["/sub", "/a/b"]).unwrap();
        let found = |claims: &str| {
            let claims: Value = serde_json::from_str(claims).unwrap();
            let found = config.revocable_claims(claims.as_object().unwrap());
            found
                .map(|one| one.map(|(claim, name)| format!("{claim}={name}")))
                .collect::<Result<Vec<_>, _>>()
                .map(|found| found.join(" "))
                .map_err(|error| error.to_string())
        };
        for (value, name) in [("1e3", "1000"), ("100.0", "100"), ("-0", "0"), (r#""1e3""#, "1e3")] {
            assert_eq!(found(&format!(r#"{{"sub":{value}}}"#)), Ok(format!("/sub={name}")));
            let nested = format!(r#"{{"sub":"x","a":{{"b":{value}}}}}"#);
            assert_eq!(found(&nested), Ok(format!("/sub=x /a/b={name}")));
        }
        for (value, reason) in [
            ("1.5", "it is not a whole number"),
            ("1e-1", "it is not a whole number"),
            ("true", "it is neither a text nor a whole number"),
            (r#"["alice"]"#, "it is neither a text nor a whole number"),
            (r#"{"id":1}"#, "it is neither a text nor a whole number"),
            (r#""""#, "it is empty"),
        ] {
            let told = |field| Err(format!("the claim {field} cannot be revoked by: {reason}"));
            assert_eq!(found(&format!(r#"{{"sub":{value}}}"#)), told("/sub"));
            assert_eq!(found(&format!(r#"{{"sub":"x","a":{{"b":{value}}}}}"#)), told("/a/b"));
        }
        assert!(found(&format!(r#"{{"sub":"{}"}}"#, "x".repeat(1025))).is_err());
        assert_eq!(found(r#"{"sub":null,"a":{"b":null}}"#).as_deref(), Ok(""));
        assert_eq!(found(r#"{"a":"no object"}"#).as_deref(), Ok(""), "there is nothing at the pointer");
    }
}
