//! A provider on loopback.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The answer of a path.
#[derive(Clone)]
pub(crate) enum Page {
    /// Status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// Nothing.
    Hang,
}

impl Page {
    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, Vec::new(), body.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A request as the stub has read it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct Shared {
    pages: HashMap<String, Page>,
    seen: Vec<Seen>,
    connections: usize,
}

/// A server that answers with the pages that a test sets; other paths are 404. A 304 is sent for an
/// entity tag that the page has.
pub(crate) struct Stub {
    shared: Arc<Mutex<Shared>>,
    pub(crate) origin: String,
    pub(crate) port: u16,
    server: AbortHandle,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1", None).await
    }

    pub(crate) async fn start_at(host: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Mutex<Shared>>::default();
        let server = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut connections = JoinSet::new();
                loop {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    shared.lock().connections += 1;
                    let (shared, tls) = (shared.clone(), tls.clone());
                    connections.spawn(async move {
                        // Clients may leave at any time.
                        let _ = match tls {
                            None => serve(stream, &shared).await,
                            Some(tls) => match tls.accept(stream).await {
                                Ok(stream) => serve(stream, &shared).await,
                                Err(error) => Err(error),
                            },
                        };
                    });
                }
            }
        });
        Self { shared, origin: format!("{scheme}://{host}:{port}"), port, server: server.abort_handle() }
    }

    pub(crate) fn set(&self, path: &str, page: Page) {
        self.shared.lock().pages.insert(path.to_owned(), page);
    }

    /// Serves metadata at the place of OpenID Connect Discovery.
    pub(crate) fn set_metadata(&self, issuer: &str, jwks_uri: &str) {
        let metadata = serde_json::json!({"issuer": issuer, "jwks_uri": jwks_uri}).to_string();
        self.set("/.well-known/openid-configuration", Page::json(metadata));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Returns how many requests there were for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path == path).count()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Mutex<Shared>) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
                break head;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().split(' ');
        let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
        let headers: HashMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length {
            stream.read_buf(&mut buffer).await?;
        }
        let body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
        let known = headers.get("if-none-match").cloned();
        let page = {
            let mut shared = shared.lock();
            let page = shared.pages.get(&path).cloned().unwrap_or_else(|| Page::status(404));
            shared.seen.push(Seen { method, path, headers, body });
            page
        };
        match page {
            Page::Hang => std::future::pending().await,
            Page::Raw(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Page::Answer(status, headers, body) => {
                let is_known = known.is_some_and(|known| headers.contains(&("etag", known)));
                let (status, body) = if is_known { (304, Vec::new()) } else { (status, body) };
                let mut head = format!("HTTP/1.1 {status} Text\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                stream.write_all(format!("{head}\r\n").as_bytes()).await?;
                stream.write_all(&body).await?;
            }
        }
    }
}

/// Waits until something holds, for at most ten seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}
