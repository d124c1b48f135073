//! What connections are found by if their issuer no longer stands for their tokens.

use std::sync::Arc;

/// A property of tokens that only the gateway itself selects by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The text of `iss`.
    pub issuer: Arc<str>,
    /// `key`, `token` or `status`.
    pub kind: &'static str,
    /// For `key`, the RFC 7638 thumbprint of the issuer's key that signed the token; for `token`,
    /// the SHA-256 of an opaque token; both in base64url. For `status`, the URI of a status list,
    /// `#`, and the index.
    pub value: Arc<str>,
}

/// An issuer no longer stands for the tokens with a mark: their connections are to be terminated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedMark {
    /// Which tokens.
    pub mark: Mark,
    /// Why, for the audit log.
    pub reason: String,
}

/// The connections of this node that are open, as far as the tasks of an issuer need them.
pub trait OpenConnections: Send + Sync {
    /// Returns `true` if the token of an open connection has this mark.
    fn have(&self, mark: &Mark) -> bool;

    /// Terminates the connections of tokens with a mark.
    fn end(&self, ended: EndedMark);
}

/// A process without connections.
impl OpenConnections for () {
    fn have(&self, _mark: &Mark) -> bool {
        false
    }

    fn end(&self, _ended: EndedMark) {}
}
