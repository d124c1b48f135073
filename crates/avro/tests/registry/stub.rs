//! A registry that runs in the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::SOON;

/// A registry that answers what the test says.
pub(crate) struct Stub {
    pub(crate) answers: Mutex<HashMap<String, (u16, String)>>,
    /// Paths, in the order of the requests.
    requests: Mutex<Vec<String>>,
    /// The only value of `authorization` that is accepted.
    authorization: Option<String>,
    is_down: AtomicBool,
    /// A request takes one permit before it is answered.
    pub(crate) permits: Semaphore,
}

impl Stub {
    pub(crate) fn new(authorization: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::default(),
            requests: Mutex::default(),
            authorization: authorization.map(str::to_owned),
            is_down: AtomicBool::new(false),
            permits: Semaphore::new(1_000),
        })
    }

    /// Starts a registry, and returns its URL too.
    pub(crate) async fn start(authorization: Option<&str>) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let stub = Self::new(authorization);
        let accepting = stub.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        (stub, url)
    }

    pub(crate) async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| self.answer(request));
        // A connection that breaks is the client's to report.
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, &'static str> {
        let path = request.uri().to_string();
        self.requests.lock().push(path.clone());
        self.permits.acquire().await.unwrap().forget();
        if self.is_down.load(Ordering::Relaxed) {
            return Err("down");
        }
        let presented = request.headers().get("authorization").map(|value| value.to_str().unwrap());
        let (status, body) = if self.authorization.as_deref() == presented {
            let answers = self.answers.lock();
            let unknown = || (404, r#"{"error_code":40401,"message":"unknown"}"#.to_owned());
            answers.get(&path).cloned().unwrap_or_else(unknown)
        } else {
            (401, r#"{"error_code":401,"message":"Unauthorized"}"#.to_owned())
        };
        Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
    }

    pub(crate) fn put(&self, path: &str, status: u16, body: impl ToString) {
        self.answers.lock().insert(path.to_owned(), (status, body.to_string()));
    }

    pub(crate) fn put_id(&self, id: u32, schema: &str) {
        self.put(&format!("/schemas/ids/{id}"), 200, json!({"schema": schema}));
    }

    pub(crate) fn put_latest(&self, subject: &str, id: u32, schema: &str) {
        let body = json!({"subject": subject, "version": id, "id": id, "schema": schema});
        self.put(&format!("/subjects/{subject}/versions/latest"), 200, body);
    }

    /// Puts a version of a subject, which may be deleted: who does not say so does not get it.
    pub(crate) fn put_version(&self, subject: &str, version: u32, body: impl ToString) {
        self.put(&format!("/subjects/{subject}/versions/{version}?deleted=true"), 200, body);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().len()
    }

    pub(crate) async fn asked(&self, times: usize) {
        let asked = async {
            while self.count() < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, asked).await.expect("the registry is asked");
    }
}
