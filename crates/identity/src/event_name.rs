//! The types of security events that the gateway knows, and what they do.

use std::fmt;
use std::str::FromStr;

/// A type of security event that can revoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names of the specifications")]
pub enum EventName {
    SessionRevoked,
    TokenClaimsChange,
    CredentialChange,
    AssuranceLevelChange,
    DeviceComplianceChange,
    SessionEstablished,
    SessionPresented,
    RiskLevelChange,
    AccountCredentialChangeRequired,
    AccountPurged,
    AccountDisabled,
    AccountEnabled,
    IdentifierChanged,
    IdentifierRecycled,
    CredentialCompromise,
    RecoveryActivated,
    RecoveryInformationChanged,
    SessionsRevoked,
    TokensRevoked,
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The tokens are refused from then on, and their connections terminated.
    Revoke,
    /// The connections are terminated. The tokens stay valid.
    Disconnect,
    /// Nothing.
    Ignore,
}

/// There is no event of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of an event of CAEP or RISC, such as session-revoked")]
pub struct UnknownEventName;

/// There is no action of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected revoke, disconnect or ignore")]
pub struct UnknownAction;

/// CAEP 1.0, section 3.
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// RISC 1.0, section 2.
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
/// OAuth Event Types 1.0, which Google sends beside those of RISC.
const OAUTH: &str = "https://schemas.openid.net/secevent/oauth/event-type/";

type Row = (EventName, &'static str, &'static str, Action);

/// Each event with the beginning and the end of its URI, and what it does by default.
const EVENTS: [Row; 19] = {
    use Action::{Disconnect, Ignore, Revoke};
    use EventName::*;
    [
        (SessionRevoked, CAEP, "session-revoked", Revoke),
        // The claims of older tokens are wrong.
        (TokenClaimsChange, CAEP, "token-claims-change", Revoke),
        (CredentialChange, CAEP, "credential-change", Revoke),
        (AssuranceLevelChange, CAEP, "assurance-level-change", Disconnect),
        (DeviceComplianceChange, CAEP, "device-compliance-change", Disconnect),
        (SessionEstablished, CAEP, "session-established", Ignore),
        (SessionPresented, CAEP, "session-presented", Ignore),
        (RiskLevelChange, CAEP, "risk-level-change", Ignore),
        (AccountCredentialChangeRequired, RISC, "account-credential-change-required", Ignore),
        (AccountPurged, RISC, "account-purged", Revoke),
        (AccountDisabled, RISC, "account-disabled", Revoke),
        (AccountEnabled, RISC, "account-enabled", Ignore),
        (IdentifierChanged, RISC, "identifier-changed", Ignore),
        (IdentifierRecycled, RISC, "identifier-recycled", Ignore),
        (CredentialCompromise, RISC, "credential-compromise", Revoke),
        (RecoveryActivated, RISC, "recovery-activated", Ignore),
        (RecoveryInformationChanged, RISC, "recovery-information-changed", Ignore),
        (SessionsRevoked, RISC, "sessions-revoked", Revoke),
        (TokensRevoked, OAUTH, "tokens-revoked", Ignore),
    ]
};

impl EventName {
    /// Returns all events.
    pub fn all() -> impl Iterator<Item = Self> {
        EVENTS.into_iter().map(|(name, ..)| name)
    }

    /// Returns the event of a type; `None` if the gateway does not know it.
    pub(crate) fn of_uri(uri: &str) -> Option<Self> {
        let is_it = |(_, family, name, _): &Row| uri.strip_prefix(family) == Some(name);
        EVENTS.iter().find(|row| is_it(row)).map(|(name, ..)| *name)
    }

    /// Returns the name: the last segment of the URI of the type.
    pub fn as_str(self) -> &'static str {
        self.row().2
    }

    /// Returns what the event does unless something else is configured.
    pub fn default_action(self) -> Action {
        self.row().3
    }

    fn row(self) -> Row {
        EVENTS[self as usize]
    }
}

impl FromStr for EventName {
    type Err = UnknownEventName;

    fn from_str(text: &str) -> Result<Self, UnknownEventName> {
        Self::all().find(|name| name.as_str() == text).ok_or(UnknownEventName)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        match text {
            "revoke" => Ok(Self::Revoke),
            "disconnect" => Ok(Self::Disconnect),
            "ignore" => Ok(Self::Ignore),
            _ => Err(UnknownAction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_one_row() {
        for (n, (name, family, text, action)) in EVENTS.into_iter().enumerate() {
            assert_eq!(name as usize, n);
            assert_eq!(EventName::of_uri(&format!("{family}{text}")), Some(name));
            assert_eq!(text.parse(), Ok(name));
            assert_eq!((name.to_string().as_str(), name.default_action()), (text, action));
        }
        for unknown in ["", "session-revoked", "https://schemas.openid.net/secevent/caep/event-type/"] {
            assert_eq!(EventName::of_uri(unknown), None);
        }
        let crossed = "https://schemas.openid.net/secevent/risc/event-type/session-revoked";
        assert_eq!(EventName::of_uri(crossed), None);
        assert!("Session-Revoked".parse::<EventName>().is_err() && "kill".parse::<Action>().is_err());
    }
}
