//! Fetches the key set of an issuer from where the settings say.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use document::WatchedFiles;
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::cache_control::fresh_for;
use super::discovery::{self, Metadata};
use super::metrics::{Counts, FetchResult, What};
use super::{IssuerConfig, KeysFrom};
use crate::key_set::KeySet;
use crate::provider_client::{ProviderClient, RequestError, RequestLimits};

/// Limit of the time of one fetch: of metadata in either place, or of a key set.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// The largest key set, in bytes.
const MAX_KEY_SET: usize = 1 << 20;

/// The longest entity tag that is kept, in bytes.
const MAX_ETAG: usize = 1024;

/// Media types of a key set. Answers of any other are read, too: many servers have a wrong one.
const ACCEPTED: &str = "application/json, application/jwk-set+json";

/// Brings the key set of one issuer. A trait, so that tests of the schedule need no server.
pub(super) trait Fetch: Send {
    /// Fetches the key set.
    fn fetch(&mut self, hint: Hint) -> impl Future<Output = Result<Fetched, Failure>> + Send;
}

/// What a fetch should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Everything that is due.
    Regular,
    /// The same, and the metadata: tokens named a key that was not at the known place.
    Moved,
    /// The key set only, since a request waits for it.
    OnDemand,
}

/// A good fetch.
#[derive(Debug)]
pub(super) struct Fetched {
    /// `None`: the same as at the last good fetch.
    pub(super) set: Option<KeySet>,
    /// For how long the server lets it be kept, from now on.
    pub(super) fresh_for: Option<Duration>,
    /// What is wrong although the key set was fetched.
    pub(super) complaint: Option<Failure>,
}

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Failure {
    pub(super) result: FetchResult,
    reason: String,
}

impl Failure {
    pub(super) fn new(result: FetchResult, reason: String) -> Self {
        Self { result, reason }
    }

    pub(super) fn request(uri: &Uri, error: RequestError) -> Self {
        let result = match error {
            RequestError::Forbidden(_) => FetchResult::Forbidden,
            RequestError::Unreachable(_) | RequestError::Authorities(_) => FetchResult::Unreachable,
            RequestError::Timeout(_) => FetchResult::Timeout,
            RequestError::TooLarge(_) => FetchResult::TooLarge,
            RequestError::Encoded => FetchResult::Invalid,
        };
        Self::new(result, format!("{}: {error}", shown(uri)))
    }
}

/// The source of a key set, by the settings.
pub(super) enum Source {
    Remote(Box<Remote>),
    File(KeyFile),
}

/// A key set that is fetched over HTTP.
pub(super) struct Remote {
    client: ProviderClient,
    issuer: Arc<str>,
    counts: Arc<Counts>,
    /// The place of the settings. Without it, there is one in the metadata.
    configured: Option<Uri>,
    metadata: Option<(Metadata, Instant)>,
    /// The last fetch of the key set failed, so the metadata may be old.
    has_failed: bool,
    /// The tag of the last good key set, with its place.
    etag: Option<(Uri, HeaderValue)>,
}

/// A key set in a file.
pub(super) struct KeyFile {
    path: PathBuf,
    counts: Arc<Counts>,
    /// `None` before the first fetch, and while the file is read.
    watched: Option<WatchedFiles>,
    fault: Option<Failure>,
}

impl Source {
    pub(super) fn new(config: &IssuerConfig, client: ProviderClient, counts: Arc<Counts>) -> Self {
        let configured = match &config.keys {
            KeysFrom::File(path) => {
                let path = path.clone();
                return Self::File(KeyFile { path, counts, watched: None, fault: None });
            }
            KeysFrom::Uri(uri) => Some(uri.clone()),
            KeysFrom::Discovery => None,
        };
        Self::Remote(Box::new(Remote {
            client,
            issuer: config.issuer.clone(),
            counts,
            configured,
            metadata: None,
            has_failed: false,
            etag: None,
        }))
    }

    /// Returns the metadata that the key set was found by, if any, and where the key set is.
    pub(super) fn places(&self) -> (Option<String>, String) {
        match self {
            Self::File(file) => (None, file.path.display().to_string()),
            Self::Remote(remote) => {
                let metadata = remote.metadata.as_ref().map(|(metadata, _)| metadata);
                let uri = metadata.map(|metadata| &metadata.jwks_uri).or(remote.configured.as_ref());
                (metadata.map(|metadata| shown(&metadata.place)), uri.map(shown).unwrap_or_default())
            }
        }
    }
}

impl Fetch for Source {
    async fn fetch(&mut self, hint: Hint) -> Result<Fetched, Failure> {
        match self {
            Self::Remote(remote) => remote.fetch(hint).await,
            Self::File(file) => file.fetch().await,
        }
    }
}

impl Remote {
    async fn fetch(&mut self, hint: Hint) -> Result<Fetched, Failure> {
        let complaint = if self.configured.is_none() && self.needs_metadata(hint) {
            self.fetch_metadata().await.err()
        } else {
            None
        };
        let known = self.metadata.as_ref().map(|(metadata, _)| &metadata.jwks_uri);
        let Some(uri) = self.configured.as_ref().or(known).cloned() else {
            return Err(complaint.expect("without a place, the metadata was fetched, and failed"));
        };
        let fetched = self.fetch_keys(&uri).await;
        self.has_failed = fetched.is_err();
        match (fetched, complaint) {
            (Ok(fetched), complaint) => Ok(Fetched { complaint, ..fetched }),
            (Err(failure), None) => Err(failure),
            (Err(failure), Some(complaint)) => {
                Err(Failure::new(failure.result, format!("{failure}; {complaint}")))
            }
        }
    }

    /// Returns `true` if the metadata is to be fetched. A place that is known goes on to be used
    /// while metadata cannot be had.
    fn needs_metadata(&self, hint: Hint) -> bool {
        match (&self.metadata, hint) {
            (None, _) | (_, Hint::Moved) => true,
            (Some(_), Hint::OnDemand) => false,
            (Some((_, at)), Hint::Regular) => self.has_failed || at.elapsed() >= discovery::LIFE,
        }
    }

    async fn fetch_metadata(&mut self) -> Result<(), Failure> {
        let found = discovery::metadata(&self.client, &self.issuer).await;
        let result = found.as_ref().map_or_else(|failure| failure.result, |_| FetchResult::Ok);
        self.counts.fetched(What::Metadata, result);
        self.metadata = Some((found?, Instant::now()));
        Ok(())
    }

    async fn fetch_keys(&mut self, uri: &Uri) -> Result<Fetched, Failure> {
        let fetched = self.ask_for_keys(uri).await;
        let result = match &fetched {
            Ok(Fetched { set: Some(_), .. }) => FetchResult::Ok,
            Ok(Fetched { set: None, .. }) => FetchResult::NotModified,
            Err(failure) => failure.result,
        };
        self.counts.fetched(What::Keys, result);
        fetched
    }

    async fn ask_for_keys(&mut self, uri: &Uri) -> Result<Fetched, Failure> {
        let limits = RequestLimits { within: TIME_LIMIT, bytes: MAX_KEY_SET };
        let etag = self.etag.as_ref().filter(|(place, _)| place == uri).map(|(_, etag)| etag.clone());
        let answer = self.client.get(uri, ACCEPTED, etag.as_ref(), limits).await;
        let answer = answer.map_err(|error| Failure::request(uri, error))?;
        let set = match answer.status() {
            StatusCode::OK => Some(parse(answer.body(), &shown(uri))?),
            StatusCode::NOT_MODIFIED if etag.is_some() => None,
            _ => return Err(unexpected(uri, &answer)),
        };
        if set.is_some() {
            // Kept only with a key set that is in use: else a 304 could never bring one.
            self.etag = kept_etag(answer.headers()).map(|etag| (uri.clone(), etag));
        }
        Ok(Fetched { set, fresh_for: fresh_for(answer.headers()), complaint: None })
    }
}

impl KeyFile {
    async fn fetch(&mut self) -> Result<Fetched, Failure> {
        let (path, watched) = (self.path.clone(), self.watched.take());
        let reading = spawn_blocking(move || {
            let is_first = watched.is_none();
            let mut watched = watched.unwrap_or_else(|| WatchedFiles::new([path.clone()]));
            let read = watched.refresh(is_first, || {
                let text = document::read_file(&path, MAX_KEY_SET as u64);
                let text = text.map_err(|error| {
                    Failure::new(FetchResult::Unreachable, format!("{}: {error}", path.display()))
                })?;
                parse(&text, &path.display().to_string())
            });
            (watched, read)
        });
        let (watched, read) =
            reading.await.map_err(|error| Failure::new(FetchResult::Unreachable, error.to_string()))?;
        self.watched = Some(watched);
        let set = match read {
            Some(read) => {
                let result = read.as_ref().map_or_else(|failure| failure.result, |_| FetchResult::Ok);
                self.counts.fetched(What::Keys, result);
                self.fault = read.as_ref().err().cloned();
                Some(read?)
            }
            None => match &self.fault {
                Some(fault) => return Err(fault.clone()),
                None => None,
            },
        };
        Ok(Fetched { set, fresh_for: None, complaint: None })
    }
}

fn parse(json: &[u8], place: &str) -> Result<KeySet, Failure> {
    KeySet::parse(json).map_err(|error| Failure::new(FetchResult::Invalid, format!("{place}: {error}")))
}

/// Returns an entity tag that can be sent back.
fn kept_etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|etag| !etag.is_empty() && etag.len() <= MAX_ETAG).cloned()
}

/// Returns why an answer is not used, by its status.
pub(super) fn unexpected(uri: &Uri, answer: &Response<Bytes>) -> Failure {
    let status = answer.status();
    let target = answer.headers().get(LOCATION).and_then(|target| target.to_str().ok()?.parse().ok());
    let hint = match target.as_ref().map(shown) {
        _ if !status.is_redirection() || status == StatusCode::NOT_MODIFIED => String::new(),
        Some(target) => format!(" to {target}; redirects are not followed"),
        None => "; redirects are not followed".to_owned(),
    };
    Failure::new(FetchResult::Status, format!("{}: status {status}{hint}", shown(uri)))
}

/// Returns a URI for logs: without its query, which may contain a secret, and cut.
pub(super) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{host}{port}{}", uri.path()).chars().take(200).collect()
}

#[cfg(test)]
mod tests;
