//! Why tokens are refused.

/// The token is not valid. The texts are RIG's if it has one; none reveals any part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, signed with another key or an algorithm that is not allowed; or no key is set.
    #[error("Invalid signature")]
    Signature,
    /// The issuer has no key with the `kid` of the token, as far as is known.
    #[error("Invalid signature")]
    UnknownKey,
    /// Only the issuer can decide, and it has not been asked yet: it has no such key as far as is
    /// known, or it alone can read the token, or knows its status. Has the text of a key that does
    /// not exist, so that it says nothing about the keys.
    #[error("Invalid signature")]
    Unasked,
    /// The issuer's keys were never fetched, or are too old; or it cannot be asked about the token.
    /// Trying again later may succeed.
    #[error("the issuer cannot be asked")]
    Unavailable,
    /// The issuer says that the token is not active (RFC 7662, section 2.2), or its status is not
    /// valid (Token Status List, section 7.1).
    #[error("the issuer has revoked the token, or does not know it")]
    Inactive,
    /// The claim `status` does not refer to an entry of a status list that is accepted.
    #[error("the claim /status refers to no entry of a status list that is accepted")]
    Status,
    /// Five parts (RFC 7516).
    #[error("encrypted tokens are not supported")]
    Encrypted,
    /// `typ` or `cty` says that it is another kind of token (RFC 8725, section 3.11).
    #[error("another type of token is needed")]
    Type,
    /// `exp` is missing or in the past.
    #[error("token expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("token not yet valid")]
    NotYetValid,
    /// `iat` is missing or in the future.
    #[error("the claim /iat is missing or in the future")]
    IssuedAt,
    /// `exp` is later after `iat` than the issuer's tokens may live.
    #[error("the token is valid for too long")]
    Lifetime,
    /// `iss` is not the one required.
    #[error("wrong issuer")]
    Issuer,
    /// `aud` contains none of those required.
    #[error("wrong audience")]
    Audience,
    /// A claim does not have the value that the settings of the issuer require.
    #[error("a required claim is missing or has another value")]
    Required,
    /// It has the claim `events`: a statement about a session or a user, not an access token (RFC
    /// 8417, section 4.2).
    #[error("a statement about events is no access token")]
    Statement,
    /// It has the claim `cnf`: only who proves to have a key may use it (RFC 9449, section 7.2; RFC
    /// 8705, section 3).
    #[error("tokens bound to a key (/cnf) are not supported")]
    Binding,
    /// The claim is not a `NumericDate` (RFC 7519, section 2), or one beyond 64 bits.
    #[error("the claim /{0} is not a number of seconds since 1970")]
    Time(&'static str),
    /// A claim, or a member of one, is given twice (RFC 7519, section 4): a service may read the
    /// other value.
    #[error("a claim is given more than once")]
    Duplicate,
    /// The payload is not a JSON object.
    #[error("malformed claims")]
    Malformed,
}

impl TokenError {
    /// Seconds until a token may be tried again that is refused as
    /// [`Unavailable`](Self::Unavailable).
    pub const RETRY_AFTER: u64 = 5;

    /// Returns the label of the reason in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
            Self::Unasked => "unasked",
            Self::Unavailable => "unavailable",
            Self::Inactive => "inactive",
            Self::Status => "status",
            Self::Encrypted => "encrypted",
            Self::Type => "type",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedAt => "issued_at",
            Self::Lifetime => "lifetime",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Required => "required",
            Self::Statement => "statement",
            Self::Binding => "binding",
            Self::Time(_) => "time",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
        }
    }
}
