//! Fetches status lists, and checks who has signed them.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::MAX_LIST;
use super::list_token::StatusListToken;
use crate::claims::now;
use crate::issuers::demand::Refetched;
use crate::issuers::fetch::{Failure, TIME_LIMIT, shown, unexpected};
use crate::issuers::metrics::FetchResult;
use crate::issuers::signed::Kind;
use crate::issuers::token::{UnverifiedJwt, media_type};
use crate::issuers::{Issuer, ListsConfig};
use crate::provider_client::RequestLimits;
use crate::token_error::TokenError;

const ACCEPTED: &str = "application/statuslist+jwt";

/// Brings the status lists of one issuer. A trait, so that tests of the task need no server.
pub(super) trait FetchList: Send + Sync {
    /// Fetches the list at a URI.
    fn fetch(&self, uri: &str) -> impl Future<Output = Result<StatusListToken, Failure>> + Send;
}

/// Fetches status lists over HTTP.
pub(super) struct Remote {
    issuer: Arc<Issuer>,
    lists: ListsConfig,
    /// One list is checked at a time: that takes several times its size of memory.
    checking: tokio::sync::Mutex<()>,
}

/// Why a list is not used.
pub(super) enum Refused {
    /// Its keys may be fetched, to try once more; with its `kid`.
    Key(TokenError, Option<String>),
    For(String),
}

impl Remote {
    pub(super) fn new(issuer: Arc<Issuer>, lists: ListsConfig) -> Self {
        Self { issuer, lists, checking: tokio::sync::Mutex::default() }
    }

    /// Checks a list as [`check`] does. If it is signed with an unknown key, the keys of the issuer
    /// are fetched first.
    async fn checked(&self, answer: Bytes, uri: &str, deadline: Instant) -> Result<StatusListToken, String> {
        let refused = match self.check_apart(answer.clone(), uri).await {
            Ok(list) => return Ok(list),
            Err(Refused::For(reason)) => return Err(reason),
            Err(Refused::Key(error, kid)) => (error, kid),
        };
        let keys = &self.issuer.keys;
        match refused {
            (TokenError::Unavailable, _) => keys.demand.first_ended(deadline).await,
            (error, kid) => {
                let within = deadline.saturating_duration_since(Instant::now());
                let refetched = self.issuer.refetched(kid.as_deref(), within).await;
                if !matches!(refetched, Refetched::Fetched | Refetched::Missing) {
                    return Err(error.to_string());
                }
            }
        }
        match self.check_apart(answer, uri).await {
            Ok(list) => Ok(list),
            Err(Refused::For(reason)) => Err(reason),
            Err(Refused::Key(error, _)) => Err(error.to_string()),
        }
    }

    /// Checks a list on a thread of its own: several MiB take long.
    async fn check_apart(&self, answer: Bytes, uri: &str) -> Result<StatusListToken, Refused> {
        let _one_at_a_time = self.checking.lock().await;
        let (issuer, uri) = (self.issuer.clone(), uri.to_owned());
        let checking = spawn_blocking(move || check(&issuer, &answer, &uri));
        checking.await.unwrap_or_else(|error| Err(Refused::For(error.to_string())))
    }
}

impl FetchList for Remote {
    async fn fetch(&self, uri: &str) -> Result<StatusListToken, Failure> {
        let invalid = |reason| Failure::new(FetchResult::Invalid, reason);
        // It was checked when it was found in a token.
        let place = self.lists.allowed(uri).ok_or_else(|| invalid("the URI is not allowed".to_owned()))?;
        let deadline = Instant::now() + TIME_LIMIT;
        let limits = RequestLimits { within: TIME_LIMIT, bytes: MAX_LIST };
        let answer = self.issuer.client().get(&place, ACCEPTED, None, limits).await;
        let answer = answer.map_err(|error| Failure::request(&place, error))?;
        if answer.status() != StatusCode::OK {
            return Err(unexpected(&place, &answer));
        }
        let invalid = |reason: String| invalid(format!("{}: {reason}", shown(&place)));
        if is_cwt(&answer) {
            return Err(invalid("the list is a CWT; only JWTs are supported".to_owned()));
        }
        let checking = self.checked(answer.into_body(), uri, deadline);
        let late = |_| Failure::new(FetchResult::Timeout, format!("{}: no key in time", shown(&place)));
        timeout_at(deadline + TIME_LIMIT, checking).await.map_err(late)?.map_err(invalid)
    }
}

/// Returns `true` if an answer says that it is a list in CBOR.
fn is_cwt(answer: &Response<Bytes>) -> bool {
    let given = answer.headers().get(CONTENT_TYPE).and_then(|given| given.to_str().ok());
    let kind = given.and_then(|given| given.split(';').next()).map(|kind| media_type(kind.trim()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("statuslist+cwt") || kind.eq_ignore_ascii_case("cwt"))
}

/// Checks a status list token: that the issuer has signed it, for this URI, and when it counts.
/// Unlike other tokens it need not name the issuer, whose keys are the only ones that it is checked
/// with.
pub(super) fn check(issuer: &Issuer, answer: &[u8], uri: &str) -> Result<StatusListToken, Refused> {
    let refused = |error: TokenError| Refused::For(error.to_string());
    // Files often end with a line break.
    let text = str::from_utf8(answer).map_err(|_| Refused::For("not a JWT".to_owned()))?.trim_ascii_end();
    let jwt = UnverifiedJwt::parse(text, MAX_LIST).map_err(|_| Refused::For("not a JWT".to_owned()))?;
    let header = jwt.header().map_err(refused)?;
    let is_ours = |iss: &str| {
        [&issuer.config.issuer].into_iter().chain(&issuer.config.aliases).any(|text| **text == *iss)
    };
    if jwt.claims.get("iss").is_some_and(|iss| !iss.is_null() && !iss.as_str().is_some_and(is_ours)) {
        return Err(refused(TokenError::Issuer));
    }
    match issuer.authenticate(&jwt, &header, Kind::StatusList) {
        Ok(_) => {}
        Err(error @ (TokenError::UnknownKey | TokenError::Unavailable)) => {
            return Err(Refused::Key(error, header.kid));
        }
        Err(error) => return Err(refused(error)),
    }
    StatusListToken::parse(&jwt.claims, uri, issuer.config.leeway, now())
        .map_err(|flaw| Refused::For(flaw.to_string()))
}
