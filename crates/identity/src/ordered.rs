//! A revocation that a statement asks for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session::{Mode, SessionName};

use crate::config::Tokens;

/// A revocation that a statement of a provider asks for.
///
/// `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The JSON Pointer of the claim that selects tokens.
    pub claim: String,
    /// The value of the claim.
    pub value: SessionName,
    /// The id of the issuer whose tokens are selected.
    pub issuer_id: Arc<str>,
    /// The issuer whose tokens are selected: the main text of its `iss`.
    pub issuer: Arc<str>,
    /// Selects tokens that were issued up to this second: two seconds after the event, since the
    /// `iat` of some providers is ahead of the time at which they state that a session has ended.
    pub issued_up_to: u64,
    /// When the last token that it selects has expired.
    pub ends_at: SystemTime,
    /// Whether the tokens are refused, or their connections terminated only.
    pub mode: Mode,
    /// Why, for the audit log; at most [`Ordered::REASON`] bytes without control characters.
    pub reason: String,
    /// When what is stated has happened.
    pub happened_at: SystemTime,
    /// The `jti` of the statement, if it has one.
    pub statement: Option<SessionName>,
}

impl Ordered {
    /// Length limit of the reason in bytes. A longer one is cut off.
    pub const REASON: usize = 200;
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered")
            .field("claim", &self.claim)
            .field("issuer", &self.issuer)
            .field("issued_up_to", &self.issued_up_to)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// How much later than the event a token may have been issued that the event means.
const MEANT: u64 = 2;

/// What has happened, by a statement.
pub(crate) struct Happened {
    /// When, in seconds since 1970.
    at: f64,
    mode: Mode,
    /// The present second.
    now: f64,
    reason: String,
    statement: Option<SessionName>,
}

impl Happened {
    /// `what`, and the `jti` of the `statement`, are the reason.
    pub(crate) fn new(what: fmt::Arguments<'_>, statement: Option<SessionName>, at: f64, now: f64) -> Self {
        let reason = match &statement {
            Some(id) => format!("{what}, jti {id}"),
            None => what.to_string(),
        };
        let mut reason: String = reason.chars().filter(|char| !char.is_control()).collect();
        reason.truncate(reason.floor_char_boundary(Ordered::REASON));
        Self { at, mode: Mode::Revoke, now, reason, statement }
    }

    /// Returns it with what is to be done, other than to revoke.
    pub(crate) fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Returns the order to revoke what the value of a claim selects. `None` if all of
    /// these tokens have expired since.
    pub(crate) fn order(&self, tokens: Tokens<'_>, claim: &str, value: SessionName) -> Option<Ordered> {
        let happened_at = after_1970(self.at);
        // Whole seconds, like the `iat` that sessions are compared by; 0 before 1970.
        let issued_up_to = self.at as u64 + MEANT;
        // A token may have been issued at the end of that second.
        let ends_at = after_1970(issued_up_to as f64 + 1.0) + tokens.kept;
        (ends_at > after_1970(self.now)).then(|| Ordered {
            claim: claim.to_owned(),
            value,
            issuer_id: tokens.id.clone(),
            issuer: tokens.issuer.clone(),
            issued_up_to,
            ends_at,
            mode: self.mode,
            reason: self.reason.clone(),
            happened_at,
            statement: self.statement.clone(),
        })
    }
}

/// Returns a time; 1970 for one before it. The callers have limited it: it is later than now by two
/// minutes at most.
fn after_1970(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
