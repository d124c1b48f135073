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
    /// The session claim in tokens of the static key.
    jwt_session_field: ClaimPointer,
    issuers: Vec<IssuerClaims>,
    has_static_key: bool,
    /// The claims that the operator has named.
    listed: Vec<ClaimPointer>,
    /// All claims that tokens can be revoked by, with their texts.
    revocation_claims: Vec<(ClaimPointer, Arc<str>)>,
    expiry: Expiry,
    node: NodeName,
}

/// What the configuration says of an issuer of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerField {
    /// The text of `iss` in its tokens (RFC 7519, section 4.1.1).
    pub issuer: Arc<str>,
    /// Further texts of the same issuer. Revocations that name one of them select its tokens: the
    /// text that is now an alias may have been the main one when they were made.
    pub aliases: Vec<Arc<str>>,
    /// The JSON Pointer (RFC 6901) of the session claim in its tokens.
    pub session_field: String,
    /// JSON Pointers of further claims that tokens can be revoked by. `/sub` and `/sid` always are
    /// among them.
    pub selectable: Vec<String>,
    /// How long after its `exp` a token of the issuer is still valid. `None`: as long as one of the
    /// static key ([`Expiry::Ends`]).
    pub leeway: Option<Duration>,
}

/// An [`IssuerField`] that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IssuerClaims {
    issuer: Arc<str>,
    aliases: Vec<Arc<str>>,
    session_field: ClaimPointer,
    selectable: Vec<ClaimPointer>,
    leeway: Option<Duration>,
}

impl IssuerClaims {
    fn is(&self, issuer: &str) -> bool {
        *self.issuer == *issuer || self.aliases.iter().any(|alias| **alias == *issuer)
    }
}

/// The claims that tokens of issuers can always be revoked by: statements of issuers name users and
/// sessions by them (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const OF_ISSUERS: [&str; 2] = ["/sub", "/sid"];

/// What happens to a connection whose token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is terminated with its token (d05).
    Ends {
        /// How long before that the connection is warned.
        warning: Duration,
        /// How long after its `exp` a token of the static key is still valid, because clocks
        /// differ.
        leeway: Duration,
    },
    /// It stays open (RIG).
    Ignored,
}

/// No token can have this selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Tokens cannot be revoked by this claim.
    #[error("tokens cannot be revoked by the claim {claim:?}; expected one of {expected}")]
    Claim {
        /// The claim that was asked for.
        claim: String,
        /// The claims that are possible, separated by commas.
        expected: String,
    },
    /// No issuer with this text is configured.
    #[error("{}", unknown_issuer(expected))]
    Issuer {
        /// The issuers that are configured, separated by commas.
        expected: String,
    },
}

fn unknown_issuer(expected: &str) -> String {
    match expected {
        "" => "no issuer is configured".to_owned(),
        _ => format!("expected one of {expected}"),
    }
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
            issuers: Vec::new(),
            has_static_key: true,
            listed: Vec::new(),
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
            self.listed.push(ClaimPointer::parse(text)?);
        }
        Ok(self.with_all_claims())
    }

    /// Returns the configuration with these issuers of tokens. `has_static_key` says whether there
    /// are tokens without an issuer too: those of the static key, whose session claim is that of
    /// [`Config::new`].
    ///
    /// If all sources of tokens have the same session claim, tokens are selected by it as their
    /// session. If not, they can be selected by the session claim of each source as by another
    /// claim too, so that it reaches all tokens that have it.
    ///
    /// # Errors
    /// Fails if a session claim, or another one, is not a JSON Pointer to a claim.
    pub fn with_issuers(
        mut self,
        issuers: Vec<IssuerField>,
        has_static_key: bool,
    ) -> Result<Self, ClaimPointerError> {
        let parsed = |field: IssuerField| {
            let selectable = field.selectable.iter().map(|text| ClaimPointer::parse(text));
            Ok(IssuerClaims {
                issuer: field.issuer,
                aliases: field.aliases,
                session_field: ClaimPointer::parse(&field.session_field)?,
                selectable: selectable.collect::<Result<_, _>>()?,
                leeway: field.leeway,
            })
        };
        self.issuers = issuers.into_iter().map(parsed).collect::<Result<_, _>>()?;
        self.has_static_key = has_static_key || self.issuers.is_empty();
        Ok(self.with_all_claims())
    }

    /// Computes anew by which claims tokens can be revoked.
    fn with_all_claims(self) -> Self {
        let shared = self.shared_session_field().cloned();
        let of_issuers = OF_ISSUERS.iter().filter(|_| !self.issuers.is_empty());
        let of_issuers =
            of_issuers.map(|text| ClaimPointer::parse(text).expect("it is a JSON Pointer to a claim"));
        let selectable = self.issuers.iter().flat_map(|issuer| issuer.selectable.iter().cloned());
        let all = self.listed.iter().cloned().chain(of_issuers).chain(selectable);
        let mut claims: Vec<(ClaimPointer, Arc<str>)> = Vec::new();
        for pointer in all.chain(self.session_fields().cloned()) {
            // Tokens are selected by their session anyway.
            if shared.as_ref() != Some(&pointer) && claims.iter().all(|(known, _)| *known != pointer) {
                let text = pointer.as_str().into();
                claims.push((pointer, text));
            }
        }
        Self { revocation_claims: claims, ..self }
    }

    /// Returns the session claims of all sources of tokens.
    fn session_fields(&self) -> impl Iterator<Item = &ClaimPointer> {
        let of_static_key = self.has_static_key.then_some(&self.jwt_session_field);
        of_static_key.into_iter().chain(self.issuers.iter().map(|issuer| &issuer.session_field))
    }

    /// Returns the session claim if all sources of tokens have the same.
    fn shared_session_field(&self) -> Option<&ClaimPointer> {
        let mut fields = self.session_fields();
        let first = fields.next()?;
        fields.all(|field| field == first).then_some(first)
    }

    /// Returns the issuer with this text, its main one or an alias.
    fn issuer(&self, issuer: &str) -> Option<&IssuerClaims> {
        self.issuers.iter().find(|known| known.is(issuer))
    }

    /// Returns the issuers of tokens, in the order in which they were given.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.issuers.iter().map(|issuer| &issuer.issuer)
    }

    /// Returns the main text of the issuer of this text, as a selector holds it.
    ///
    /// # Errors
    /// Fails if it is not configured.
    pub fn known_issuer(&self, issuer: &str) -> Result<Arc<str>, SelectorError> {
        let known = self.issuer(issuer).map(|known| known.issuer.clone());
        known.ok_or_else(|| SelectorError::Issuer { expected: joined(self.issuers().map(|known| &**known)) })
    }

    /// Returns the main text of the issuer if selectors distinguish it: there are several sources
    /// of tokens, or this is not the only one.
    pub(crate) fn scope<'i>(&'i self, issuer: Option<&'i str>) -> Option<&'i str> {
        let is_only =
            |issuer: &&str| !self.has_static_key && self.issuers.len() == 1 && self.issuers[0].is(issuer);
        let issuer = issuer.filter(|issuer| !is_only(issuer))?;
        Some(self.issuer(issuer).map_or(issuer, |known| &known.issuer))
    }

    /// Returns whether this claim names the session of the tokens that a selector with this issuer
    /// selects.
    pub(crate) fn names_session(&self, issuer: Option<&str>, claim: &str) -> bool {
        let field = match issuer {
            Some(issuer) => self.issuer(issuer).map(|known| &known.session_field),
            None => self.shared_session_field(),
        };
        field.is_some_and(|field| field.as_str() == claim)
    }

    /// Returns how long after its `exp` a token is valid; `None` if expiry is ignored.
    pub(crate) fn leeway(&self, issuer: Option<&str>) -> Option<Duration> {
        let Expiry::Ends { leeway, .. } = self.expiry else { return None };
        let of_issuer = issuer.and_then(|issuer| self.issuer(issuer)?.leeway);
        Some(of_issuer.unwrap_or(leeway))
    }

    /// Returns the longest time that a token is valid after its `exp`.
    pub(crate) fn longest_leeway(&self) -> Duration {
        let issuers = self.issuers.iter().map(|issuer| Some(&*issuer.issuer));
        issuers.chain([None]).filter_map(|issuer| self.leeway(issuer)).max().unwrap_or_default()
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

    /// Returns the selector of tokens with this value of a claim: of one issuer, or of every source
    /// of tokens.
    ///
    /// # Errors
    /// Fails if tokens cannot be revoked by this claim, or the issuer is not configured.
    pub fn selector(
        &self,
        issuer: Option<&str>,
        claim: &str,
        value: SessionName,
    ) -> Result<Selector, SelectorError> {
        let issuer = issuer.map(|issuer| self.known_issuer(issuer)).transpose()?;
        if self.names_session(issuer.as_deref(), claim) {
            return Ok(Selector::session(value).issued_by(issuer));
        }
        match self.revocation_claims.iter().find(|(_, text)| **text == *claim) {
            Some((_, claim)) => Ok(Selector::of_claim(claim.clone(), value).issued_by(issuer)),
            None => {
                let session = self.shared_session_field().map(ClaimPointer::as_str);
                let expected = joined(session.into_iter().chain(self.revocation_claims()));
                Err(SelectorError::Claim { claim: claim.to_owned(), expected })
            }
        }
    }

    /// Checks that a selector of an earlier configuration can be enforced with this one. That of an
    /// issuer that is not configured any more can: none of its tokens is let in.
    ///
    /// # Errors
    /// Fails if tokens can no longer be revoked by its claim.
    pub(crate) fn check(&self, selector: &Selector) -> Result<(), SelectorError> {
        let issuer = selector.issuer.as_deref();
        match selector.claim() {
            Some(claim) if issuer.is_none_or(|issuer| self.issuer(issuer).is_some()) => {
                self.selector(issuer, claim, selector.value().clone()).map(drop)
            }
            _ => Ok(()),
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

    /// Returns the JSON Pointer of the session claim of tokens of the static key.
    pub fn jwt_session_field(&self) -> &str {
        self.jwt_session_field.as_str()
    }

    /// Returns the session that these claims name: a string, or an integer, which stands for its
    /// decimal digits (d09). The session claim is that of the issuer; without one, that of the
    /// static key.
    ///
    /// # Errors
    /// Fails if the claim is missing or null, neither a string nor an integer, empty, or too long.
    pub fn session_name(
        &self,
        issuer: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<SessionName, ClaimError> {
        let issuer = issuer.and_then(|issuer| self.issuer(issuer));
        let pointer = issuer.map_or(&self.jwt_session_field, |issuer| &issuer.session_field);
        let field = || pointer.as_str().to_owned();
        let claim = present(pointer, claims).ok_or_else(|| ClaimError::Missing { field: field() })?;
        claim.try_into().map_err(|reason| ClaimError::Invalid { field: field(), reason })
    }
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.collect::<Vec<_>>().join(", ")
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
        let name = Config::new(pointer).unwrap().session_name(None, claims.as_object().unwrap());
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
        assert_eq!(config.selector(None, "/jti", name("j")), Ok(Selector::session(name("j"))));
        assert_eq!(config.selector(None, "/sub", name("a")).unwrap().claim(), Some("/sub"));
        let error = config.selector(None, "/role", name("a")).unwrap_err().to_string();
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
