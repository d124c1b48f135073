//! Why a statement is refused.

use session::SessionName;

/// A statement is refused: a claim, and what is wrong with it. Contains no value of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{claim}: {fault}")]
pub struct Refused {
    /// The claim, or `typ` of the header, or the body.
    pub claim: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is required.
    #[error("missing")]
    Missing,
    /// It must not be there.
    #[error("must not be present")]
    Present,
    /// It is not a text of 1 to [`SessionName::MAX`] bytes.
    #[error("expected a string of 1 to {} bytes", SessionName::MAX)]
    Text,
    /// It is not a `NumericDate` (RFC 7519, section 2).
    #[error("expected a number of seconds since 1970")]
    Time,
    /// It is not an object.
    #[error("expected an object")]
    Object,
    /// It is not JSON.
    #[error("expected a JSON object")]
    Json,
    /// It lacks this member, or has one of another kind.
    #[error("expected the member {0:?}")]
    Member(&'static str),
    /// It has more than this number of items.
    #[error("expected at most {0} items")]
    Items(usize),
    /// It has more than one event type that the gateway knows (SSF 1.0, section 4.2).
    #[error("expected one event")]
    SeveralEvents,
    /// It is later than clocks may differ.
    #[error("in the future")]
    Future,
    /// It is in the past.
    #[error("in the past")]
    Past,
    /// It is too long ago.
    #[error("too long ago")]
    Old,
    /// It is too long after `iat`.
    #[error("too long after iat")]
    Late,
    /// It is another kind of token.
    #[error("not the type of this statement")]
    Type,
    /// It is not the issuer that is configured.
    #[error("not the issuer")]
    Issuer,
    /// It contains none of those that are configured.
    #[error("not an audience that is configured")]
    Audience,
    /// It is not a client that is configured.
    #[error("not a client that is configured")]
    Client,
    /// It is not what was asked for.
    #[error("not what was asked for")]
    State,
    /// Its format is unknown, or not configured.
    #[error("a format that is unknown or not configured")]
    Format,
}

impl Fault {
    /// Returns the refusal for this claim.
    pub(crate) const fn of(self, claim: &'static str) -> Refused {
        Refused { claim, fault: self }
    }
}
