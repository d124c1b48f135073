//! Asks an issuer about a token (RFC 7662, section 2.1).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::byte_serialize;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::super::fetch::{Failure, shown};
use super::super::keys::IssuerKeys;
use super::super::metrics::{Counts, FetchResult, What};
use super::answer::Answer;
use crate::IntrospectionConfig;
use crate::provider_client::{ProviderClient, RequestError, RequestLimits};
use crate::secret_file::{SecretFile, basic_credentials};

/// Limit of the time of a question, with all its tries.
pub(super) const ASK_WITHIN: Duration = Duration::from_secs(5);

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// How often the file of the secret is read at most because the secret was refused.
const REREAD: Duration = Duration::from_secs(1);

/// Asks an issuer about its tokens. A trait, so that tests need no server.
pub(super) trait Ask: Send + Sync {
    /// Asks about a token, for at most [`ASK_WITHIN`].
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, Failure>>;

    /// Reads again what has changed of the settings, if anything can.
    fn refresh(&self) -> BoxFuture<'_, ()>;
}

/// The introspection endpoint of an issuer.
pub(super) struct Endpoint {
    config: IntrospectionConfig,
    client: ProviderClient,
    counts: Arc<Counts>,
    /// Read at the first question.
    secret: Arc<OnceLock<SecretFile>>,
    /// When it was last read because it was refused.
    reread: Mutex<Option<Instant>>,
}

impl Endpoint {
    /// Opens nothing.
    pub(super) fn new(config: IntrospectionConfig, keys: &IssuerKeys) -> Self {
        let (client, counts) = (keys.client.clone(), keys.counts.clone());
        Self { config, client, counts, secret: Arc::default(), reread: Mutex::default() }
    }

    async fn answer(&self, token: &str) -> Result<Answer, Failure> {
        let deadline = Instant::now() + ASK_WITHIN;
        let secret = self.secret().await?;
        let mut answer = self.post(token, &secret, deadline).await;
        if answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED)
            && let Some(other) = self.changed_secret(&secret).await
        {
            answer = self.post(token, &other, deadline).await;
        }
        let url = &self.config.url;
        let answer = answer.map_err(|error| Failure::request(url, error))?;
        if answer.status() != StatusCode::OK {
            // Without the target of a redirect, which may contain the token.
            let reason = format!("{}: status {}", shown(url), answer.status());
            return Err(Failure::new(FetchResult::Status, reason));
        }
        Answer::read(answer.body()).map_err(|reason| {
            let reason = format!("{}: {reason}", shown(url));
            Failure::new(FetchResult::Invalid, reason)
        })
    }

    async fn post(
        &self,
        token: &str,
        secret: &str,
        deadline: Instant,
    ) -> Result<Response<Bytes>, RequestError> {
        let token: String = byte_serialize(token.as_bytes()).collect();
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, basic_credentials(&self.config.client_id, secret)),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let form = format!("token={token}&token_type_hint=access_token");
        let within = deadline.saturating_duration_since(Instant::now());
        let limits = RequestLimits { within, bytes: MAX_ANSWER };
        self.client.post_form(&self.config.url, headers, form, limits).await
    }

    async fn secret(&self) -> Result<Arc<str>, Failure> {
        let secret = match self.secret.get() {
            Some(file) => file.current(),
            None => self.read(|_| {}).await,
        };
        let reason = "the secret of the client cannot be read";
        secret.ok_or_else(|| Failure::new(FetchResult::Unreachable, reason.to_owned()))
    }

    /// Reads the secret again, and returns it if it has changed.
    async fn changed_secret(&self, refused: &str) -> Option<Arc<str>> {
        let is_due = {
            let (mut reread, now) = (self.reread.lock(), Instant::now());
            let is_due = reread.is_none_or(|at| now >= at + REREAD);
            if is_due {
                *reread = Some(now);
            }
            is_due
        };
        let secret =
            if is_due { self.read(|file| file.refresh(true)).await } else { self.secret.get()?.current() };
        secret.filter(|secret| **secret != *refused)
    }

    async fn read(&self, refresh: impl FnOnce(&SecretFile) + Send + 'static) -> Option<Arc<str>> {
        let (secret, path) = (self.secret.clone(), self.config.client_secret_file.clone());
        let read = spawn_blocking(move || {
            let file = secret.get_or_init(|| SecretFile::new(path));
            refresh(file);
            file.current()
        });
        read.await.ok()?
    }
}

impl Ask for Endpoint {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            let answer = self.answer(token).await;
            let result = answer.as_ref().map_or_else(|failure| failure.result, |_| FetchResult::Ok);
            self.counts.fetched(What::Introspection, result);
            answer
        })
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { drop(self.read(|file| file.refresh(false)).await) })
    }
}
