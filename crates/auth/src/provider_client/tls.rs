//! The HTTP client, made again when the file of its certificate authorities changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use document::WatchedFiles;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::RequestError;
use super::connector::CheckedConnector;
use crate::issuers::address::Reach;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Limit of the idle connections to one server.
const MAX_IDLE: usize = 8;

/// Limit of the bytes of the head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// How often the file of the authorities is looked at.
const LOOK: Duration = Duration::from_secs(2);

type HttpClient = Client<HttpsConnector<CheckedConnector>, Full<Bytes>>;

/// Makes the client that requests use. Clones share it.
#[derive(Clone)]
pub(super) struct Clients {
    reach: Arc<Reach>,
    ca_file: Option<PathBuf>,
    built: Arc<Mutex<Option<Built>>>,
}

struct Built {
    client: HttpClient,
    /// The file of the authorities, and when it was last looked at.
    watched: Option<(WatchedFiles, Instant)>,
}

impl Clients {
    pub(super) fn new(reach: Reach, ca_file: Option<PathBuf>) -> Self {
        Self { reach: Arc::new(reach), ca_file, built: Arc::default() }
    }

    /// Returns the client. One whose authorities cannot be read again stays in use.
    pub(super) async fn current(&self) -> Result<HttpClient, RequestError> {
        let mut built = self.built.lock().await;
        let is_new = |built: &Built| built.watched.as_ref().is_none_or(|(_, looked)| looked.elapsed() < LOOK);
        if let Some(built) = built.as_ref().filter(|built| is_new(built)) {
            return Ok(built.client.clone());
        }
        let (reach, ca_file) = (self.reach.clone(), self.ca_file.clone());
        // Taken out: if this future is dropped meanwhile, the client is made anew.
        let before = built.take();
        let refreshed = spawn_blocking(move || Built::refreshed(before, &reach, ca_file.as_deref())).await;
        let refreshed = refreshed.map_err(|error| RequestError::Authorities(error.to_string()))??;
        Ok(built.insert(refreshed).client.clone())
    }
}

impl Built {
    /// Blocks on disk I/O.
    fn refreshed(
        before: Option<Self>,
        reach: &Arc<Reach>,
        ca_file: Option<&Path>,
    ) -> Result<Self, RequestError> {
        let Some(Self { client, watched: Some((mut watched, _)) }) = before else {
            // Before the file is read, so that a change meanwhile is noticed later.
            let watched = ca_file.map(|path| (WatchedFiles::new([path.to_owned()]), Instant::now()));
            let client = client(reach, ca_file).map_err(RequestError::Authorities)?;
            return Ok(Self { client, watched });
        };
        let client = match watched.refresh(false, || self::client(reach, ca_file)) {
            Some(Ok(fresh)) => {
                tracing::info!(ca_file = ?ca_file, "certificate authorities reloaded");
                fresh
            }
            Some(Err(error)) => {
                tracing::error!(%error, "certificate authorities not reloaded, the old ones stay");
                client
            }
            None => client,
        };
        Ok(Self { client, watched: Some((watched, Instant::now())) })
    }
}

/// Creates a client that trusts the authorities of the system and those of the file.
fn client(reach: &Arc<Reach>, ca_file: Option<&Path>) -> Result<HttpClient, String> {
    let mut roots = trust::system_roots();
    if let Some(path) = ca_file {
        let fault = |reason: String| format!("ca_file {}: {reason}", path.display());
        let text = document::read_file(path, document::MAX_KEYS).map_err(|error| fault(error.to_string()))?;
        let found = pem::authorities(&text).map_err(|error| fault(error.to_string()))?;
        if found.roots.is_empty() {
            return Err(fault("no certificate that can be used as an authority".to_owned()));
        }
        roots.roots.extend(found.roots.roots);
    }
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust::client(roots).with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(CheckedConnector(reach.clone()));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD)
        .build(connector))
}
