//! The client of the registry, against one that runs in the test.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod authority;
mod references;
mod stub;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rig_avro::{ConfigError, DecodeError, EncodeError, Registry, RegistryConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use self::authority::Authority;
use self::stub::Stub;

/// Bounds each wait of a test.
const SOON: Duration = Duration::from_secs(10);

fn registry(url: &str) -> Registry {
    Registry::new(RegistryConfig { url: url.to_owned(), ..RegistryConfig::default() }).unwrap()
}

fn message(id: u32, encoded: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], encoded].concat()
}

/// Lets the registry's clock go on, without waiting.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

const NOTE: &str = r#"{"type":"record","name":"Note","fields":[{"name":"text","type":"string"}]}"#;

/// `{"text":"x"}` by `NOTE`.
const X: &[u8] = &[2, b'x'];

#[tokio::test]
async fn b04_a_message_with_nested_records_is_plain_json() {
    let (stub, url) = Stub::start(None).await;
    let outer = json!({"type": "record", "name": "Outer", "fields": [
        {"name": "notes", "type": {"type": "array", "items": serde_json::from_str::<Value>(NOTE).unwrap()}},
        {"name": "last", "type": ["null", "Note"]}]});
    stub.put_id(7, &outer.to_string());
    let decoded = registry(&url).decode(&message(7, &[2, 2, b'x', 0, 2, 2, b'y'])).await;
    assert_eq!(decoded, Ok(json!({"notes": [{"text": "x"}], "last": {"text": "y"}})));
}

#[tokio::test]
async fn an_encoded_value_begins_with_the_id_of_the_latest_schema() {
    let (stub, url) = Stub::start(None).await;
    stub.put("/subjects/a%2Fb%20%C3%A4/versions/latest", 200, json!({"id": 258, "schema": NOTE}));
    let registry = registry(&url);
    let encoded = registry.encode("a/b ä", &json!({"text": "x"})).await.unwrap();
    assert_eq!(&encoded[..], message(258, X));
    // The id is known with it.
    assert_eq!(registry.decode(&encoded).await, Ok(json!({"text": "x"})));
    assert_eq!(stub.count(), 1);
    let invalid = registry.encode("a/b ä", &json!({"text": 7})).await;
    assert_eq!(invalid, Err(EncodeError::Invalid("/text: expected string".to_owned())));
}

#[tokio::test]
async fn an_id_is_asked_for_once() {
    let (stub, url) = Stub::start(None).await;
    stub.put_id(7, NOTE);
    let registry = registry(&url);
    let message = message(7, X);
    let all = (0..50).map(|_| registry.decode(&message));
    for decoded in futures(all).await {
        assert_eq!(decoded, Ok(json!({"text": "x"})));
    }
    assert_eq!(stub.count(), 1);
}

/// Runs all at once.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    let work = std::future::poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    timeout(SOON, work).await.unwrap();
    done
}

#[tokio::test]
async fn poison_is_told_apart_from_what_may_be_tried_again() {
    let (stub, url) = Stub::start(None).await;
    stub.put_id(7, NOTE);
    stub.put("/schemas/ids/8", 200, json!({"schema": "message M {}", "schemaType": "PROTOBUF"}));
    stub.put_id(9, "no schema");
    stub.put_id(10, &format!("\"{}\"", "x".repeat(2 << 20)));
    let registry = registry(&url);
    let unknown = registry.decode(&message(5, X)).await.unwrap_err();
    assert_eq!(unknown, DecodeError::UnknownSchema(5));
    // Registries answer with a plain 404 if an id is out of their range.
    stub.put("/schemas/ids/4294967295", 404, "");
    assert_eq!(registry.decode(&message(u32::MAX, X)).await, Err(DecodeError::UnknownSchema(u32::MAX)));
    let asked = stub.count();
    let bad =
        [&b""[..], &[0, 0, 0, 0], b"{\"a\":1}", &[1, 0, 0, 0, 7, 2, b'x'], &message(7, &[2]), &message(8, X)];
    for bytes in bad.into_iter().chain([&message(9, X)[..], &message(10, X)]) {
        let error = registry.decode(bytes).await.unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)) && !error.is_temporary(), "{error}");
    }
    assert_eq!(stub.count(), asked + 4);
    // A schema that cannot be used is not asked for again.
    for id in [8, 9, 10] {
        assert!(registry.decode(&message(id, X)).await.is_err());
    }
    assert_eq!(stub.count(), asked + 4);
    let subject = registry.encode("nowhere", &json!({})).await;
    assert!(matches!(subject, Err(EncodeError::UnknownSubject { .. })), "{subject:?}");
}

#[tokio::test]
async fn b06_what_is_cached_goes_on_while_the_registry_is_down() {
    let (stub, url) = Stub::start(None).await;
    stub.put_id(7, NOTE);
    stub.put_id(8, NOTE);
    stub.put_latest("notes", 9, NOTE);
    let registry = registry(&url);
    let note = json!({"text": "x"});
    assert!(registry.decode(&message(7, X)).await.is_ok());
    assert!(registry.encode("notes", &note).await.is_ok());

    stub.set_down(true);
    later(Duration::from_mins(6)).await;
    let asked = stub.count();
    for _ in 0..10 {
        assert_eq!(registry.decode(&message(7, X)).await, Ok(note.clone()));
        assert_eq!(&registry.encode("notes", &note).await.unwrap()[..], message(9, X));
        let error = registry.decode(&message(8, X)).await.unwrap_err();
        assert!(matches!(error, DecodeError::Unavailable(_)) && error.is_temporary(), "{error}");
        assert!(matches!(registry.encode("others", &note).await, Err(EncodeError::Unavailable(_))));
    }
    assert_eq!(stub.count(), asked + 1);
    later(Duration::from_secs(1)).await;
    assert!(registry.decode(&message(8, X)).await.is_err());
    assert_eq!(stub.count(), asked + 2);

    stub.set_down(false);
    assert!(registry.decode(&message(8, X)).await.is_err());
    later(Duration::from_secs(1)).await;
    assert_eq!(registry.decode(&message(8, X)).await, Ok(note));
}

#[tokio::test]
async fn the_latest_schema_is_used_for_five_minutes() {
    let (stub, url) = Stub::start(None).await;
    stub.put_latest("notes", 1, NOTE);
    let registry = registry(&url);
    let note = json!({"text": "x"});
    let id = async || registry.encode("notes", &note).await.unwrap()[4];
    assert_eq!(id().await, 1);
    stub.put_latest("notes", 2, NOTE);
    later(Duration::from_secs(299)).await;
    assert_eq!(id().await, 1);
    later(Duration::from_secs(2)).await;
    assert_eq!(id().await, 2);
    assert_eq!(stub.count(), 2);
    // A subject that was deleted is not used any longer.
    stub.answers.lock().clear();
    later(Duration::from_mins(6)).await;
    let deleted = registry.encode("notes", &note).await;
    assert!(matches!(deleted, Err(EncodeError::UnknownSubject { .. })));
}

#[tokio::test]
async fn one_caller_renews_the_latest_schema_and_the_others_do_not_wait() {
    let (stub, url) = Stub::start(None).await;
    stub.put_latest("notes", 1, NOTE);
    let registry = Arc::new(registry(&url));
    let note = json!({"text": "x"});
    assert!(registry.encode("notes", &note).await.is_ok());
    stub.put_latest("notes", 2, NOTE);
    later(Duration::from_mins(6)).await;
    stub.permits.forget_permits(1_000);
    let (renewing, value) = (registry.clone(), note.clone());
    let renewing = tokio::spawn(async move { renewing.encode("notes", &value).await.unwrap()[4] });
    stub.asked(2).await;
    // The caller that renews goes away.
    renewing.abort();
    assert_eq!(timeout(SOON, registry.encode("notes", &note)).await.unwrap().unwrap()[4], 1);
    stub.permits.add_permits(10);
    let renewed = async {
        while registry.encode("notes", &note).await.unwrap()[4] == 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, renewed).await.expect("the newer schema is used");
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn b06_what_is_cached_goes_on_while_the_registry_hangs() {
    let (stub, url) = Stub::start(None).await;
    stub.put_latest("notes", 9, NOTE);
    let registry = registry(&url);
    let note = json!({"text": "x"});
    assert!(registry.encode("notes", &note).await.is_ok());
    stub.permits.forget_permits(1_000);
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(6)).await;
    for _ in 0..3 {
        // Less than a request to the registry may take.
        let encoded = timeout(Duration::from_secs(4), registry.encode("notes", &note)).await;
        assert_eq!(&encoded.expect("a caller does not wait so long").unwrap()[..], message(9, X));
        // The outage becomes known, although no caller waits for it.
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        let now = Instant::now();
        let error = registry.decode(&message(7, X)).await.unwrap_err();
        assert_eq!(error, DecodeError::Unavailable("no answer within 5 s".to_owned()));
        assert_eq!(registry.encode("notes", &note).await.unwrap(), message(9, X));
        assert_eq!(now.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_is_given_up() {
    let (stub, url) = Stub::start(None).await;
    stub.permits.forget_permits(1_000);
    let error = registry(&url).decode(&message(7, X)).await.unwrap_err();
    assert_eq!(error, DecodeError::Unavailable("no answer within 5 s".to_owned()));
}

#[tokio::test]
async fn what_is_not_a_registry_is_unavailable() {
    let (stub, url) = Stub::start(None).await;
    stub.put("/schemas/ids/7", 302, "");
    assert!(registry(&url).decode(&message(7, X)).await.unwrap_err().to_string().contains("redirects"));
    stub.put("/schemas/ids/7", 404, "<html>");
    assert!(registry(&url).decode(&message(7, X)).await.unwrap_err().is_temporary());
    stub.put("/schemas/ids/7", 502, "x".repeat(2 << 20));
    let page = registry(&url).decode(&message(7, X)).await;
    assert_eq!(page, Err(DecodeError::Unavailable("status 502 Bad Gateway".to_owned())));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = registry(&nobody.to_string());
    assert!(closed.decode(&message(7, X)).await.unwrap_err().is_temporary());
    assert!(closed.check().await.is_err());
}

#[tokio::test]
async fn b29_credentials_are_presented() {
    // The example of RFC 7617, section 2.
    let (stub, url) = Stub::start(Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")).await;
    stub.put_id(7, NOTE);
    stub.put("/subjects", 200, "[]");
    let config = |password: &str| RegistryConfig {
        url: format!("http://{url}/"),
        credentials: Some(("Aladdin".to_owned(), password.to_owned())),
        ..RegistryConfig::default()
    };
    let registry = Registry::new(config("open sesame")).unwrap();
    assert_eq!(registry.check().await, Ok(()));
    assert!(registry.decode(&message(7, X)).await.is_ok());
    let registry = Registry::new(config("other")).unwrap();
    let expected = "the credentials are not accepted (status 401)".to_owned();
    assert_eq!(registry.check().await, Err(expected.clone()));
    assert_eq!(registry.decode(&message(7, X)).await, Err(DecodeError::Unavailable(expected)));
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn b29_the_registry_is_verified_and_may_verify_the_gateway() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify("127.0.0.1");
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(pem::authorities(&read(&authority.ca())).unwrap().roots);
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            pem::chain(&read(&certificate)).unwrap().certificates,
            pem::private_key(&read(&key), None).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stub = Stub::new(None);
    stub.put("/subjects", 200, "[]");
    let serving = stub.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serving.clone().serve(stream));
            }
        }
    });
    let own = Some(authority.certify("gateway"));
    let check = async |host: &str, ca: Option<PathBuf>, certificate: Option<(PathBuf, PathBuf)>| {
        let url = format!("https://{host}:{port}");
        let registry = Registry::new(RegistryConfig { url, credentials: None, ca, certificate }).unwrap();
        registry.check().await
    };
    let ca = || Some(authority.ca());
    assert_eq!(check("127.0.0.1", ca(), own.clone()).await, Ok(()));
    assert!(check("127.0.0.1", ca(), None).await.is_err(), "without the certificate that is required");
    assert!(check("localhost", ca(), own.clone()).await.is_err(), "another name than the certificate has");
    let unknown = check("127.0.0.1", None, own.clone()).await.unwrap_err();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let stranger = Authority::new();
    assert!(check("127.0.0.1", Some(stranger.ca()), own).await.is_err(), "another authority");
    assert_eq!(stub.count(), 1);
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let config = |url: &str| RegistryConfig { url: url.to_owned(), ..RegistryConfig::default() };
    assert!(matches!(Registry::new(config("ftp://x")), Err(ConfigError::Url)));
    let ca = Some(PathBuf::from("/nowhere/ca.pem"));
    let missing = Registry::new(RegistryConfig { ca, ..config("https://x") });
    assert!(matches!(missing, Err(ConfigError::File { .. })));
}
