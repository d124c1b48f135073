use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::issuers::Audience;

const METADATA: &str = "/.well-known/openid-configuration";

/// A provider on loopback: a status and a body for each path, and the requests that came.
#[derive(Clone, Default)]
struct Provider {
    pages: Arc<Mutex<HashMap<String, (u16, String)>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    async fn start() -> (Self, String) {
        let (provider, listener) = (Self::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let served = provider.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let (status, body) = served.pages.lock().get(path).cloned().unwrap_or((404, String::new()));
                let etag = if path.starts_with("/keys") { "etag: \"1\"\r\n" } else { "" };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\n{etag}content-length: {}",
                    body.len()
                );
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
                served.requests.lock().push(request);
            }
        });
        (provider, origin)
    }

    fn set(&self, path: &str, status: u16, body: impl ToString) {
        self.pages.lock().insert(path.to_owned(), (status, body.to_string()));
    }

    fn set_metadata(&self, issuer: &str, keys: &str) {
        self.set(METADATA, 200, json!({"issuer": issuer, "jwks_uri": keys}));
    }

    /// Returns the paths that were asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.requests.lock());
        requests.iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect()
    }
}

fn key_set() -> serde_json::Value {
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "A".repeat(43)}]})
}

async fn source() -> (Provider, String, Source) {
    let (provider, origin) = Provider::start().await;
    provider.set_metadata(&origin, &format!("{origin}/keys"));
    provider.set("/keys", 200, key_set());
    provider.set("/keys2", 200, key_set());
    let config = IssuerConfig::new("kc", origin.as_str(), Audience::Any);
    let mut source = Source::new(&config, ProviderClient::new(config.access()), Arc::default());
    let fetched = source.fetch(Hint::Regular).await.unwrap();
    assert!(fetched.set.is_some() && fetched.complaint.is_none());
    assert_eq!(provider.asked(), [METADATA, "/keys"]);
    (provider, origin, source)
}

/// Lets time pass. Requests need a clock that runs.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn metadata_is_used_for_a_day() {
    let (provider, origin, mut source) = source().await;
    provider.set_metadata(&origin, &format!("{origin}/keys2"));
    pass(discovery::LIFE - Duration::from_secs(10)).await;
    source.fetch(Hint::Regular).await.unwrap();
    assert_eq!(provider.asked(), ["/keys"]);
    pass(Duration::from_secs(10)).await;
    // A request waits: metadata can be read later.
    source.fetch(Hint::OnDemand).await.unwrap();
    assert_eq!(provider.asked(), ["/keys"]);
    source.fetch(Hint::Regular).await.unwrap();
    assert_eq!(provider.asked(), [METADATA, "/keys2"]);
    source.fetch(Hint::Regular).await.unwrap();
    assert_eq!(provider.asked(), ["/keys2"]);
}

#[tokio::test]
async fn metadata_is_read_again_after_a_failure_and_when_a_kid_was_not_found() {
    let (provider, origin, mut source) = source().await;
    provider.set_metadata(&origin, &format!("{origin}/keys2"));
    source.fetch(Hint::Moved).await.unwrap();
    assert_eq!(provider.asked(), [METADATA, "/keys2"]);
    provider.set("/keys2", 500, "");
    provider.set_metadata(&origin, &format!("{origin}/keys"));
    source.fetch(Hint::Regular).await.unwrap_err();
    assert_eq!(provider.asked(), ["/keys2"]);
    source.fetch(Hint::Regular).await.unwrap();
    assert_eq!(provider.asked(), [METADATA, "/keys"]);
}

/// A place that is known is used while there is no better one.
#[tokio::test]
async fn without_metadata_the_old_place_is_used_and_the_fault_is_named() {
    let (provider, origin, mut source) = source().await;
    provider.set(METADATA, 500, "");
    let fetched = source.fetch(Hint::Moved).await.unwrap();
    let complaint = fetched.complaint.unwrap().to_string();
    assert_eq!(complaint, format!("{origin}{METADATA}: status 500 Internal Server Error"));
    // Nothing of the metadata of another issuer is used.
    provider.set_metadata(&format!("{origin}/"), &format!("{origin}/keys2"));
    provider.asked();
    let fetched = source.fetch(Hint::Moved).await.unwrap();
    let complaint = fetched.complaint.unwrap().to_string();
    assert!(complaint.contains(&format!("\"{origin}/\"")) && complaint.contains(&format!("\"{origin}\"")));
    assert_eq!(provider.asked(), [METADATA, "/keys"]);
    // Both faults, if there are two.
    provider.set("/keys", 503, "");
    let failure = source.fetch(Hint::Moved).await.unwrap_err().to_string();
    assert!(
        failure.starts_with(&format!("{origin}/keys: status 503")) && failure.ends_with(&complaint),
        "{failure}"
    );
}

#[tokio::test]
async fn an_entity_tag_is_for_one_place_and_one_good_key_set() {
    let (provider, origin, mut source) = source().await;
    let has_tag = || provider.requests.lock().last().unwrap().contains("if-none-match: \"1\"\r\n");
    provider.set("/keys", 304, "");
    assert!(source.fetch(Hint::Regular).await.unwrap().set.is_none());
    assert!(has_tag());
    // Another place has tags of its own.
    provider.set_metadata(&origin, &format!("{origin}/keys2"));
    source.fetch(Hint::Moved).await.unwrap();
    assert!(!has_tag());
    source.fetch(Hint::Regular).await.unwrap();
    assert!(has_tag());
    // An answer that was not asked for brings nothing.
    provider.set_metadata(&origin, &format!("{origin}/keys"));
    let failure = source.fetch(Hint::Moved).await.unwrap_err();
    assert!(failure.to_string().ends_with("status 304 Not Modified"), "{failure}");
    assert!(!has_tag());
}

#[test]
fn an_entity_tag_that_is_empty_or_too_long_is_not_kept() {
    let is_kept = |tag: &str| {
        let headers = HeaderMap::from_iter([(ETAG, HeaderValue::from_str(tag).unwrap())]);
        kept_etag(&headers).is_some()
    };
    assert!(is_kept("\"1\"") && is_kept(&"x".repeat(MAX_ETAG)));
    assert!(!is_kept("") && !is_kept(&"x".repeat(MAX_ETAG + 1)));
}

#[tokio::test]
async fn i07_metadata_is_bounded() {
    let (provider, origin, mut source) = source().await;
    let large = json!({"issuer": origin, "jwks_uri": format!("{origin}/keys2"), "x": "x".repeat(1 << 20)});
    provider.set(METADATA, 200, large);
    let fetched = source.fetch(Hint::Moved).await.unwrap();
    let complaint = fetched.complaint.unwrap().to_string();
    assert_eq!(complaint, format!("{origin}{METADATA}: the answer is larger than 1048576 bytes"));
}

#[test]
fn what_is_shown_of_a_uri_has_no_secret_and_an_end() {
    let shown = |uri: &str| shown(&uri.parse().unwrap());
    assert_eq!(shown("https://user:pass@id.example:8443/keys?code=secret"), "https://id.example:8443/keys");
    assert_eq!(shown(&format!("https://id.example/{}", "k".repeat(1000))).len(), 200);
}
