//! The settings of an issuer.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde_json::Value;

use crate::key::Algorithms;

/// An issuer whose tokens are accepted, and what is required of them.
#[derive(Clone)]
pub struct IssuerConfig {
    /// Names the issuer in paths, metrics and the audit log.
    pub id: Arc<str>,
    /// The exact text of `iss`.
    pub issuer: Arc<str>,
    /// Further texts of `iss`.
    pub aliases: Vec<Arc<str>>,
    /// Where the key set is.
    pub keys: KeysFrom,
    /// The accepted audiences.
    pub audience: Audience,
    /// JSON Pointer to the claim that names the audience: a text or a list of them.
    pub audience_at: String,
    /// JSON Pointers to claims, each with the value that the claim has, or contains as a list.
    pub required: Vec<(String, Value)>,
    /// The allowed algorithms. Those that sign with a secret fit no key of a key set.
    pub algorithms: Algorithms,
    /// The allowed `typ` of access tokens. Empty: none, `JWT` and `at+jwt`.
    pub types: Vec<String>,
    /// Allowed difference of clocks, for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// Limit of the time from `iat` to `exp`.
    pub max_token_life: Duration,
    /// How often the key set is fetched.
    pub keys_refresh: Duration,
    /// How long a key set is used after it could no longer be fetched.
    pub keys_max_stale: Duration,
    /// What happens to the connections of a key that was withdrawn.
    pub on_withdrawn: OnWithdrawn,
    /// Certificate authorities that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the issuer may be reached without TLS.
    pub insecure_http: bool,
    /// How the issuer is asked about opaque tokens. `None`: its tokens are JWTs.
    pub introspection: Option<IntrospectionConfig>,
    /// Which status lists count. `None`: the claim `status` is not looked at.
    pub status_lists: Option<ListsConfig>,
}

/// How an issuer is asked about tokens that only it can read (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionConfig {
    /// What its opaque tokens begin with. Empty: all that are of no other issuer.
    pub prefix: String,
    /// The introspection endpoint.
    pub url: Uri,
    /// The id that the issuer knows the gateway by.
    pub client_id: String,
    /// The file of the secret that belongs to the id.
    pub client_secret_file: PathBuf,
}

/// The status lists that the tokens of an issuer may refer to (draft-ietf-oauth-status-list).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListsConfig {
    /// What the URIs of the lists begin with. The path of each ends with a slash.
    pub prefixes: Vec<Uri>,
}

/// Where the key set of an issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// At the `jwks_uri` of the issuer's metadata (OpenID Connect Discovery 1.0, RFC 8414).
    Discovery,
    /// At this URI.
    Uri(Uri),
    /// In this file, which is read again when it changes.
    File(PathBuf),
}

/// The audiences that a token may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Any, or none.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

/// What happens to the open connections of a key that its issuer has withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWithdrawn {
    /// They are disconnected.
    Disconnect,
    /// They stay until their tokens expire.
    Keep,
}

impl IssuerConfig {
    /// Returns the settings of an issuer that are not given, with the key set found by discovery.
    pub fn new(id: impl Into<Arc<str>>, issuer: impl Into<Arc<str>>, audience: Audience) -> Self {
        Self {
            id: id.into(),
            issuer: issuer.into(),
            aliases: Vec::new(),
            keys: KeysFrom::Discovery,
            audience,
            audience_at: "/aud".to_owned(),
            required: Vec::new(),
            algorithms: Algorithms::of_issuers(),
            types: Vec::new(),
            leeway: Duration::from_secs(5),
            max_token_life: Duration::from_secs(24 * 3600),
            keys_refresh: Duration::from_secs(300),
            keys_max_stale: Duration::from_secs(3600),
            on_withdrawn: OnWithdrawn::Disconnect,
            ca_file: None,
            insecure_http: false,
            introspection: None,
            status_lists: None,
        }
    }
}

/// Without the values of claims, which may be names of customers.
impl fmt::Debug for IssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerConfig")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
