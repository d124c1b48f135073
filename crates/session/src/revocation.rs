//! What an operator asks for to terminate sessions, and what it has done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::name::SessionName;
use crate::node_name::NodeName;
use crate::selector::Selector;

/// Terminates the connections of some tokens and, for a while, makes the tokens illegal to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Names it, so that it can be asked for and lifted, and so that asking twice does it once.
    pub id: RevocationId,
    /// Whose tokens.
    pub selector: Selector,
    /// Only those issued up to this time (`iat`, RFC 7519, section 4.1.6; seconds since 1970). A
    /// token without `iat` counts as older, and so does one that would have been issued in the
    /// future. `None`: all tokens.
    pub issued_up_to: Option<u64>,
    /// Refuse and terminate, or terminate only.
    pub mode: Mode,
    /// For how long, counted from the moment it is accepted. Of no meaning where
    /// [`Mode::Disconnect`].
    pub validity: Duration,
    /// Who asked for it, where the caller says so.
    pub by: Option<String>,
    /// Why, where the caller says so.
    pub reason: Option<String>,
    /// Where the id is known: make that revocation last at least this long (RIG's blacklist, whose
    /// entries have no ids), instead of answering with what it has done.
    pub extends: bool,
}

impl Revocation {
    /// RIG's blacklisting of a session: of several the one that lasts longest counts.
    pub fn blacklist(name: &SessionName, validity: Duration) -> Self {
        Self {
            id: RevocationId::of_blacklist(name.as_str()),
            selector: Selector::Session(name.clone()),
            issued_up_to: None,
            mode: Mode::Revoke,
            validity,
            by: None,
            reason: None,
            extends: true,
        }
    }
}

/// What a revocation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse the tokens and terminate their connections.
    Revoke,
    /// Terminate the connections. The tokens stay good.
    Disconnect,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Disconnect => "disconnect",
        }
    }
}

/// The name of a revocation: some text, not empty, at most [`RevocationId::MAX`] bytes.
///
/// `Debug` does not show it: that of a blacklisted session holds the session's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationId(Arc<str>);

/// The text cannot name a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: 1 to {} bytes", RevocationId::MAX)]
pub struct RevocationIdError;

impl RevocationId {
    /// The longest, in bytes: a session name and what stands before it.
    pub const MAX: usize = 1100;

    /// What the ids of RIG's blacklist begin with.
    pub const BLACKLIST: &str = "session-blacklist/";

    /// The id.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn new(text: &str) -> Result<Self, RevocationIdError> {
        (1..=Self::MAX).contains(&text.len()).then(|| Self(text.into())).ok_or(RevocationIdError)
    }

    /// The one id of a session on RIG's blacklist, where entries have no ids of their own.
    pub(crate) fn of_blacklist(name: &str) -> Self {
        Self(format!("{}{name}", Self::BLACKLIST).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationId").finish_non_exhaustive()
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a revocation in its log. Never used twice.
pub type Seq = u64;

/// What is known of a revocation that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub seq: Seq,
    /// What was asked for; its validity as it was then.
    pub revocation: Revocation,
    /// When it was accepted, in the time of day of then.
    pub accepted_at: SystemTime,
    /// What is left of its validity.
    pub left: Duration,
    /// What it has done on each node. A node is missing while the revocation is being carried out
    /// there, and if its process exited meanwhile.
    pub receipts: BTreeMap<NodeName, Receipt>,
}

impl Record {
    /// Returns what the revocation has done on `node`.
    pub fn receipt(&self, node: &NodeName) -> Option<Receipt> {
        self.receipts.get(node).copied()
    }
}

/// What a revocation has done on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the last of its connections had been notified: from then on nothing was written to any
    /// of them.
    pub applied_at: SystemTime,
    /// Connections that it terminated. Of several revocations at the same time, each connection is
    /// counted by one.
    pub connections: u64,
    /// Requests that it cut short, such as parked polls.
    pub requests: u64,
    /// When the last payload was handed to one of those connections, where there was any.
    pub last_payload_at: Option<SystemTime>,
}
