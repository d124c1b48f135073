//! Revocations, as an operator requests them, and the records of what they have done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::name::SessionName;
use crate::node_name::NodeName;
use crate::selector::{Selected, Selector};

/// Terminates the connections of some tokens and, for a while, makes the tokens illegal to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Identifies it, so that it can be queried and lifted, and so that a repeated request has no
    /// further effect.
    pub id: RevocationId,
    /// Which tokens it selects.
    pub selector: Selector,
    /// Selects only tokens issued up to this time (`iat`, RFC 7519, section 4.1.6; seconds since
    /// 1970). A token without `iat` counts as older, and so does one that would have been issued in
    /// the future. `None`: all tokens.
    pub issued_up_to: Option<u64>,
    /// Whether it revokes or only disconnects.
    pub mode: Mode,
    /// How long it is in force, from the moment it is accepted. Ignored with [`Mode::Disconnect`].
    pub validity: Duration,
    /// Who asked for it, if the caller says so.
    pub by: Option<String>,
    /// Why, if the caller says so.
    pub reason: Option<String>,
    /// If the id is known: makes that revocation last at least this long, and select tokens issued
    /// up to this bound or a later one, instead of returning what it has done. RIG's blacklist
    /// works like this, since its entries have no ids, and so do [standing
    /// revocations](Revocation::standing).
    pub extends: bool,
}

impl Revocation {
    /// Returns the revocation for RIG's blacklisting of a session. If there are several, the
    /// longest counts.
    pub fn blacklist(name: &SessionName, validity: Duration) -> Self {
        Self {
            id: RevocationId::of_blacklist(name.as_str()),
            selector: Selector::session(name.clone()),
            issued_up_to: None,
            mode: Mode::Revoke,
            validity,
            by: None,
            reason: None,
            extends: true,
        }
    }
}

impl Revocation {
    /// Returns the standing revocation that a feed of an issuer asks for: of the tokens with this
    /// value of a claim that were issued up to `issued_up_to`. There is one for each claim and
    /// value: a further one only moves its bound and its end, and only to later times.
    ///
    /// `selector` comes from [`Config::selector`](crate::Config::selector) with the issuer, the
    /// claim and the value. It is in force for `validity` and [`Revocation::SAME_END`].
    pub fn standing(
        issuer_id: &str,
        claim: &str,
        selector: Selector,
        issued_up_to: u64,
        validity: Duration,
        by: String,
        reason: String,
    ) -> Self {
        let Selector { issuer, of } = selector;
        let value = match of {
            Selected::Session(value) | Selected::Claim { value, .. } | Selected::Mark { value, .. } => value,
        };
        Self {
            id: RevocationId::of_standing(issuer_id, claim, value.as_str()),
            // By the claim, even if it names the session: another configuration reads it too.
            selector: Selector::of_claim(claim, value).issued_by(issuer),
            issued_up_to: Some(issued_up_to),
            mode: Mode::Revoke,
            validity: validity.saturating_add(Self::SAME_END),
            by: Some(by),
            reason: Some(reason),
            extends: true,
        }
    }

    /// An [extension](Revocation::extends) of a standing revocation by less is none: the same
    /// statement, read twice, differs by what clocks were corrected meanwhile.
    pub const SAME_END: Duration = Duration::from_secs(2);

    /// Returns `true` if it is a [standing revocation](Revocation::standing) of an issuer.
    pub fn is_standing(&self) -> bool {
        self.extends && self.selector.issuer.is_some()
    }

    /// Returns `true` if both are the same revocation: they select the same tokens in the same
    /// mode. Who asks, why, and for how long does not matter. If both
    /// [extend](Revocation::extends), up to when the tokens were issued does not matter either.
    pub fn is_same(&self, other: &Self) -> bool {
        let has_same_bound = self.issued_up_to == other.issued_up_to || self.extends && other.extends;
        has_same_bound && self.selector == other.selector && self.mode == other.mode
    }

    /// Returns `true` if it selects the tokens of every age that the other one selects.
    pub fn covers_ages_of(&self, other: &Self) -> bool {
        later_bound(self.issued_up_to, other.issued_up_to) == self.issued_up_to
    }

    /// Moves its bound to that of the other one, unless it is later already.
    pub fn extend_bound(&mut self, other: &Self) {
        self.issued_up_to = later_bound(self.issued_up_to, other.issued_up_to);
    }
}

/// Returns the later of two bounds. `None` is the latest.
fn later_bound(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

/// What a revocation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse the tokens and terminate their connections.
    Revoke,
    /// Terminate the connections. The tokens stay legal.
    Disconnect,
}

impl Mode {
    /// Returns the name of the mode.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Disconnect => "disconnect",
        }
    }
}

/// The id of a revocation: any text of 1 to [`RevocationId::MAX`] bytes.
///
/// `Debug` does not show it, since the id of a blacklisting contains the session's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationId(Arc<str>);

/// The text cannot name a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {} bytes", RevocationId::MAX)]
pub struct RevocationIdError;

impl RevocationId {
    /// Length limit in bytes. Enough for a [standing revocation](Revocation::standing): the prefix,
    /// the id of an issuer (32 bytes), a JSON Pointer (256), and a value
    /// ([`SessionName::MAX`](crate::SessionName::MAX)).
    pub const MAX: usize = 1400;

    /// The prefix of the ids of RIG's blacklist.
    pub const BLACKLIST: &str = "session-blacklist/";

    /// The prefix of the ids of standing revocations.
    pub const STANDING: &str = "issuer/";

    /// Returns the text as an id.
    ///
    /// # Errors
    /// Fails if it is empty or too long.
    pub fn new(text: &str) -> Result<Self, RevocationIdError> {
        (1..=Self::MAX).contains(&text.len()).then(|| Self(text.into())).ok_or(RevocationIdError)
    }

    /// Returns the one id of a session on RIG's blacklist, whose entries have no ids of their own.
    pub(crate) fn of_blacklist(name: &str) -> Self {
        Self(format!("{}{name}", Self::BLACKLIST).into())
    }

    /// Returns the one id of the standing revocation of a value of a claim.
    fn of_standing(issuer_id: &str, claim: &str, value: &str) -> Self {
        Self(format!("{}{issuer_id}{claim}/{value}", Self::STANDING).into())
    }

    /// Returns the id as text.
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

/// The number of a revocation in its log. Never used twice.
pub type Seq = u64;

/// What the log stores of a revocation that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the log.
    pub seq: Seq,
    /// What was asked for, with the validity it had then.
    pub revocation: Revocation,
    /// When it was accepted, by the time of day at that moment.
    pub accepted_at: SystemTime,
    /// The remaining validity.
    pub left: Duration,
    /// What it has done on each node. A node is missing while the revocation is being carried out
    /// there, or if its process exited before it was.
    pub receipts: BTreeMap<NodeName, Receipt>,
    /// The number of changes of its id that the stream of the cluster holds, as far as this node
    /// knows; 0 if none. A revocation that replaced another one, or a lift, and is not in the
    /// stream yet has the revision of its predecessor.
    pub revision: u32,
    /// Whether it is in the stream of the cluster.
    pub in_stream: bool,
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
    /// Connections that it terminated. If several revocations overlap, only one of them counts a
    /// connection.
    pub connections: u64,
    /// Requests that it cut short, such as pending polls.
    pub requests: u64,
    /// When the last payload was handed to one of those connections, if there was any.
    pub last_payload_at: Option<SystemTime>,
}
