//! An internal port with callers, without a socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use auth::Verifier;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Request};
use http_body_util::BodyExt;
use node::Tasks;
use proxy::{Waiting, WaitingConfig};
use seal::{Incarnation, Purpose, Seal};
use serde_json::Value;
use session::{Config, Sessions};
use tower::ServiceExt;

use super::super::*;
use crate::{Admin, OperatedRooms, testing};

pub(super) const ALL_RIGHTS: [Right; 4] = Right::ALL;

/// A folder that is removed when the variable is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rig-access-{}-{number}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Returns the `Authorization` of the caller of this name; `api` presents `API_TOKEN`.
pub(super) fn token(name: &str) -> String {
    format!("Bearer token-of-the-caller-{name}")
}

/// Returns the token of a caller.
pub(super) fn plain_token(name: &str) -> String {
    token(name).split_off("Bearer ".len())
}

pub(super) struct World {
    admin: Admin,
    pub(super) access: Access,
    pub(super) sessions: Sessions,
    _tasks: Tasks,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) challenge: String,
    pub(super) retry_after: Option<String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Returns who has ordered what the answer is a receipt of.
    pub(super) fn by(&self) -> Option<String> {
        self.json()["by"].as_str().map(str::to_owned)
    }
}

impl World {
    pub(super) fn new(access: Access) -> Self {
        Self::with_verifier(access, testing::verifier())
    }

    /// Returns a port with `API_TOKEN`, and for each name a token in a file with these rights.
    pub(super) fn with_tokens(callers: &[(&str, &[Right])]) -> Self {
        let folder = Folder::new();
        let entry = |(name, rights): &(&str, &[Right])| AccessEntry {
            name: (*name).into(),
            rights: rights.to_vec(),
            proof: Proof::Token(TokenFile::load(&folder.write(name, plain_token(name))).unwrap()),
        };
        let entries = callers.iter().map(entry).collect();
        Self::new(Access::new(Some(plain_token("api").parse().unwrap()), entries))
    }

    pub(super) fn with_verifier(access: Access, verifier: Verifier) -> Self {
        let sessions = Sessions::in_memory(Config::default());
        let node = testing::node(&sessions, None);
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        let seal = Seal::new(Some("test-cookie"), Purpose::Correlation, Incarnation::unnamed());
        let rooms = OperatedRooms {
            node,
            sessions: sessions.clone(),
            verifier: Arc::new(verifier),
            waiting: Arc::new(Waiting::new(WaitingConfig::default(), seal)),
            apis: testing::no_apis(),
            registry: Default::default(),
        };
        Self { admin: testing::port_for(access.clone(), rooms), access, sessions, _tasks: tasks }
    }

    pub(super) async fn ask(&self, method: &Method, path: &str, authorization: Option<&str>) -> Answer {
        self.ask_with(method, path, &authorization.into_iter().collect::<Vec<_>>(), "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str, authorization: &str) -> Answer {
        self.ask_with(&Method::POST, path, &[authorization], body).await
    }

    pub(super) async fn revoke(&self, authorization: &str) -> Answer {
        self.post("/v4/revocations", r#"{"session":"s","validityInSeconds":60}"#, authorization).await
    }

    pub(super) async fn ask_with(
        &self,
        method: &Method,
        path: &str,
        authorizations: &[&str],
        body: &str,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        for authorization in authorizations {
            request = request.header(AUTHORIZATION, *authorization);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.admin.router.clone().oneshot(request).await.unwrap();
        let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, challenge) = (response.status().as_u16(), text(WWW_AUTHENTICATE).unwrap_or_default());
        let retry_after = text(http::header::RETRY_AFTER);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, challenge, retry_after, body: String::from_utf8_lossy(&body).into_owned() }
    }
}
