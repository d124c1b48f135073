//! The issuers whose tokens are accepted, and who of them may sign what.
//!
//! The text of `iss` chooses the issuer before any key is looked at, so a key of one issuer never
//! verifies a token of another, whatever its `kid`.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use document::JsonError;
use metric::Registry;
use serde_json::Value;

use crate::claims::Claims;
use crate::opaque::is_opaque;
use crate::token_error::TokenError;

mod access;
pub(crate) mod address;
mod cache_control;
mod config;
mod demand;
mod discovery;
mod fetch;
mod introspection;
mod keys;
mod mark;
mod metrics;
mod refresh;
mod refused;
mod schedule;
mod signed;
mod state;
mod status;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token;

pub use config::{Audience, IntrospectionConfig, IssuerConfig, KeysFrom, ListsConfig, OnWithdrawn};
pub use demand::{Refetched, UnknownKeys};
pub use introspection::{Introspected, keep_tokens};
pub use mark::{EndedMark, Mark, OpenConnections};
pub use refresh::keep_keys;
pub use signed::{Kind, SignedJwt};
pub use state::{CheckedIssuer, IssuerState, check_issuer};
pub use status::{ListFlaw, ListState, PrefixError, StatusList, StatusListToken, keep_lists};

use introspection::Introspection;
use keys::IssuerKeys;
use metrics::IssuerMetrics;
use refused::TokenMetrics;
use signed::FETCH_WITHIN;
use status::StatusLists;
use token::{Unreadable, UnverifiedJwt, named_issuer};

/// Limit of the length of a token, in bytes.
pub(crate) const MAX_TOKEN: usize = 16 << 10;

/// The issuers of the settings. Clones share them.
#[derive(Clone, Default)]
pub struct Issuers(Arc<Known>);

#[derive(Default)]
struct Known {
    /// In the order of the settings.
    list: Vec<Arc<Issuer>>,
    by_text: HashMap<Arc<str>, Arc<Issuer>>,
    metrics: TokenMetrics,
    has_logged_encrypted: AtomicBool,
}

/// An issuer with its current keys.
pub struct Issuer {
    /// Its settings.
    pub config: IssuerConfig,
    pub(crate) keys: IssuerKeys,
    introspection: Option<Introspection>,
    lists: Option<StatusLists>,
    metrics: TokenMetrics,
    observer: OnceLock<Observer>,
}

/// Sees the claims of accepted tokens.
type Observer = Box<dyn Fn(&Claims) + Send + Sync>;

impl Issuers {
    /// Creates issuers that have no keys yet. If two have the same text of `iss`, its tokens are
    /// those of the first.
    pub fn new(configs: Vec<IssuerConfig>) -> Self {
        Self::with(configs, |config, keys| {
            Some(Introspection::new(config.introspection.clone()?, config, keys))
        })
    }

    fn with(
        configs: Vec<IssuerConfig>,
        introspection: impl Fn(&IssuerConfig, &IssuerKeys) -> Option<Introspection>,
    ) -> Self {
        let metrics = TokenMetrics::default();
        let issuer = |config: IssuerConfig| {
            let keys = IssuerKeys::new(&config);
            let introspection = introspection(&config, &keys);
            let lists = config.status_lists.clone().map(StatusLists::new);
            let (metrics, observer) = (metrics.clone(), OnceLock::new());
            Arc::new(Issuer { config, keys, introspection, lists, metrics, observer })
        };
        let list: Vec<_> = configs.into_iter().map(issuer).collect();
        let mut by_text = HashMap::new();
        for issuer in &list {
            for text in [&issuer.config.issuer].into_iter().chain(&issuer.config.aliases) {
                by_text.entry(text.clone()).or_insert_with(|| issuer.clone());
            }
        }
        Self(Arc::new(Known { list, by_text, metrics, has_logged_encrypted: AtomicBool::new(false) }))
    }

    /// Exports the metrics of tokens and keys.
    pub fn register(&self, registry: &mut Registry) {
        self.0.metrics.register_in(registry);
        IssuerMetrics::register(registry).watch(self.iter());
    }

    /// Returns the issuer with this text of `iss`, its main one or an alias.
    pub fn get(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.0.by_text.get(iss)
    }

    /// Returns the issuer with this id.
    pub fn with_id(&self, id: &str) -> Option<&Arc<Issuer>> {
        self.iter().find(|issuer| &*issuer.config.id == id)
    }

    /// Returns all issuers, in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.0.list.iter()
    }

    /// Returns `true` if there are no issuers.
    pub fn is_empty(&self) -> bool {
        self.0.list.is_empty()
    }

    /// Counts the changes of all keys.
    pub(crate) fn epoch(&self) -> u64 {
        self.iter().fold(0, |sum, issuer| sum.wrapping_add(issuer.keys.epoch()))
    }

    /// Returns what a token is, by its form and the issuer that it names.
    ///
    /// # Errors
    /// Fails if the token is encrypted, or one of these issuers gave it a claim twice.
    pub(crate) fn recognize<'t>(&self, token: &'t str) -> Result<Recognized<'_, 't>, TokenError> {
        match UnverifiedJwt::parse(token, MAX_TOKEN) {
            Ok(jwt) => {
                let iss = jwt.claims.get("iss").and_then(Value::as_str);
                match iss.and_then(|iss| self.get(iss)) {
                    Some(issuer) => Ok(Recognized::Jwt(issuer, jwt)),
                    None => Ok(self.opaque_or_other(token)),
                }
            }
            Err(Unreadable::Encrypted) => {
                if !self.0.has_logged_encrypted.swap(true, Relaxed) {
                    tracing::warn!(
                        "refused an encrypted token; Auth0 issues these if its client asks for no audience \
                         (logged once)"
                    );
                }
                Err(TokenError::Encrypted)
            }
            Err(Unreadable::Claims { payload, error: JsonError::Duplicate { .. } }) => {
                match named_issuer(&payload).and_then(|iss| self.get(&iss)) {
                    Some(issuer) => Err(issuer.refused(TokenError::Duplicate)),
                    None => Ok(Recognized::Other),
                }
            }
            Err(_) => Ok(self.opaque_or_other(token)),
        }
    }

    /// Returns what a token is that is no JWT of these issuers. Three parts do not make a JWT, even
    /// if they can be decoded.
    fn opaque_or_other<'t>(&self, token: &str) -> Recognized<'_, 't> {
        let issuer = self.introspecting(token);
        let issuer = issuer.filter(|_| token.len() <= MAX_TOKEN && is_opaque(token));
        issuer.map_or(Recognized::Other, Recognized::Opaque)
    }

    /// Returns the issuer of an opaque token: the one with the longest prefix that fits, and is not
    /// the whole token.
    fn introspecting(&self, token: &str) -> Option<&Arc<Issuer>> {
        let prefix = |issuer: &Arc<Issuer>| {
            let prefix = &issuer.config.introspection.as_ref()?.prefix;
            (token.starts_with(prefix) && token.len() > prefix.len()).then_some(prefix.len())
        };
        self.iter().filter(|issuer| prefix(issuer).is_some()).max_by_key(|issuer| prefix(issuer))
    }
}

/// What a token is, before anything of it is verified.
pub(crate) enum Recognized<'i, 't> {
    /// A JWT that names this issuer.
    Jwt(&'i Arc<Issuer>, UnverifiedJwt<'t>),
    /// A token that only this issuer can read.
    Opaque(&'i Arc<Issuer>),
    /// Anything else: it is for the static key, which also refuses what is no token at all.
    Other,
}

impl Issuer {
    /// Sets who sees the claims of each access token that is verified from now on. Only the first
    /// call has an effect.
    pub fn observe_tokens(&self, observer: impl Fn(&Claims) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// Verifies an access token of this issuer, as far as that is possible without asking it.
    ///
    /// # Errors
    /// [`TokenError::Unasked`], which is no refusal yet, if it must be asked.
    pub(crate) fn accept(&self, jwt: UnverifiedJwt<'_>) -> Result<Claims, TokenError> {
        let key = jwt.header().and_then(|header| self.authenticate(&jwt, &header, Kind::Access));
        let claims = key.and_then(|key| self.check_access(jwt.claims, vec![("key", key)]));
        self.decided(claims.and_then(|claims| self.with_status(claims)))
    }

    /// Counts a refusal, if it is one.
    fn decided(&self, verdict: Result<Claims, TokenError>) -> Result<Claims, TokenError> {
        verdict.map_err(|error| match error {
            TokenError::Unasked => error,
            TokenError::UnknownKey => TokenError::Unasked,
            // The keys are being fetched for the first time.
            TokenError::Unavailable if !self.keys.demand.has_ended() => TokenError::Unasked,
            error => self.refused(error),
        })
    }

    /// Accepts an opaque token of this issuer if the issuer was asked about it a short while ago.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub(crate) fn accept_opaque(&self, token: &str) -> Result<Claims, TokenError> {
        self.decided(self.introspected(token))
    }

    /// Accepts an opaque token of this issuer if the issuer says that it is active.
    pub(crate) async fn accept_opaque_asking(self: &Arc<Self>, token: &str) -> Result<Claims, TokenError> {
        self.introspect(token, FETCH_WITHIN).await.map_err(|error| self.refused(error))
    }

    /// Verifies an access token of this issuer. If it has no such key, its keys are fetched first;
    /// so is the status list that the token refers to.
    pub(crate) async fn accept_fetching(&self, jwt: UnverifiedJwt<'_>) -> Result<Claims, TokenError> {
        let key = match jwt.header() {
            Ok(header) => self.authenticate_fetching(&jwt, &header, Kind::Access, FETCH_WITHIN).await,
            Err(error) => Err(error),
        };
        let claims = key.and_then(|key| self.check_access(jwt.claims, vec![("key", key)]));
        let claims = match claims {
            Ok(claims) => self.with_status_fetched(claims, FETCH_WITHIN).await,
            Err(error) => Err(error),
        };
        claims.map_err(|error| self.refused(error))
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|issuer| &issuer.config)).finish()
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.config).finish()
    }
}
