//! What an issuer answers about a token (RFC 7662, section 2.2). No I/O.

use std::fmt;
use std::sync::Arc;

use document::JsonError;
use serde_json::{Map, Value};

use super::super::token::media_type;
use crate::token_error::TokenError;

/// The schemes of RFC 9449, RFC 7800 and MAC tokens: only who proves to have a key may use the
/// token.
const BOUND: [&str; 3] = ["DPoP", "PoP", "mac"];

/// A good answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The token is active, with what the issuer states about it.
    Active(Statement),
    /// It is not, or the issuer does not know it, or does not let the gateway know.
    Inactive,
}

/// What an issuer states about an active token. Kept as the text of a JSON object: that takes
/// several times less memory than its members.
#[derive(Clone)]
pub(super) struct Statement(Arc<[u8]>);

impl Answer {
    /// Reads the body of an answer. Only an object whose `active` is a truth value is one: some
    /// servers answer 200 to what has failed, and what is true in JavaScript may be a text.
    ///
    /// # Errors
    /// Fails with a reason for operators, which contains nothing of the body.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        let members = members(body).map_err(|error| match error {
            TokenError::Duplicate => "a member of the answer is given more than once",
            _ => "the answer is no JSON object",
        })?;
        match members.get("active") {
            Some(Value::Bool(true)) => Ok(Self::Active(Statement(body.into()))),
            Some(Value::Bool(false)) => Ok(Self::Inactive),
            _ => Err("the member active of the answer is neither true nor false"),
        }
    }
}

impl Statement {
    /// Returns its members, as the claims of a token.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, TokenError> {
        members(&self.0)
    }

    /// Returns its size in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn members(json: &[u8]) -> Result<Map<String, Value>, TokenError> {
    match document::from_slice(json) {
        Ok(Value::Object(members)) => Ok(members),
        Err(JsonError::Duplicate { .. }) => Err(TokenError::Duplicate),
        Ok(_) | Err(JsonError::Syntax(_)) => Err(TokenError::Malformed),
    }
}

/// Checks that a token is an access token, as far as the issuer says so. A hint in the question
/// does not restrict the answer: most issuers also call refresh tokens active. Those differ in
/// `token_type` (RFC 7662; old Hydra, WSO2), `token_use` (Hydra, Cognito) or `typ` (Keycloak), and
/// where an issuer gives no type at all, only in what an access token has in addition.
///
/// # Errors
/// Fails with [`TokenError::Type`] if it is another kind of token, or if it has no type and
/// `must_have_type`; with [`TokenError::Binding`] if it is bound to a key.
pub(super) fn check_type(claims: &Map<String, Value>, must_have_type: bool) -> Result<(), TokenError> {
    let mut has_type = false;
    for (name, allowed) in [
        ("token_type", &["Bearer"][..]),
        ("token_use", &["access_token", "access"]),
        ("typ", &["Bearer", "at+jwt", "JWT"]),
    ] {
        let is_one_of = |text: &str, all: &[&str]| all.iter().any(|one| one.eq_ignore_ascii_case(text));
        match claims.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if is_one_of(media_type(text), allowed) => has_type = true,
            Some(Value::String(text)) if is_one_of(text, &BOUND) => return Err(TokenError::Binding),
            Some(_) => return Err(TokenError::Type),
        }
    }
    if has_type || !must_have_type { Ok(()) } else { Err(TokenError::Type) }
}

/// Without the values of claims.
impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Statement")
    }
}
