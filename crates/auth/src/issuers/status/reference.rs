//! The claim by which a token refers to its status (draft-ietf-oauth-status-list-20, section 6.2).

use serde_json::Value;

use crate::claims::Claims;
use crate::token_error::TokenError;

/// Which entry of which list is the status of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference<'c> {
    pub(super) uri: &'c str,
    pub(super) index: u64,
}

impl<'c> Reference<'c> {
    /// Returns what the claim `status` refers to; `None` if there is none, or it is null.
    ///
    /// # Errors
    /// Fails if it is anything else than a reference to a status list. Another mechanism cannot be
    /// checked, and the token may be revoked by it.
    pub(super) fn of(claims: &'c Claims) -> Result<Option<Self>, TokenError> {
        let Some(status) = claims.map.get("status").filter(|status| !status.is_null()) else {
            return Ok(None);
        };
        let list = status.get("status_list").ok_or(TokenError::Status)?;
        let uri = list.get("uri").and_then(Value::as_str).ok_or(TokenError::Status)?;
        let index = list.get("idx").and_then(Value::as_u64).ok_or(TokenError::Status)?;
        Ok(Some(Self { uri, index }))
    }

    /// Returns the value of the mark of a token's connections.
    pub(super) fn mark(self) -> String {
        format!("{}#{}", self.uri, self.index)
    }
}
