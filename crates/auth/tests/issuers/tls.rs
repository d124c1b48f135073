//! Issuers with a certificate of a private authority.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rig_auth::{Audience, Issuer, IssuerConfig, Issuers, KeysFrom, check_issuer, keep_keys};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::keys::{SigningKey, key_set};
use crate::stub::{Page, Stub, until};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key.into())
            .unwrap();
        Arc::new(config).into()
    }

    fn write(&self, folder: &TempDir) -> PathBuf {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }
}

fn config(stub: &Stub, ca_file: Option<PathBuf>) -> IssuerConfig {
    let mut config = IssuerConfig::new("kc", stub.origin.as_str(), Audience::Any);
    config.keys = KeysFrom::Uri(format!("{}/keys", stub.origin).parse().unwrap());
    config.ca_file = ca_file;
    config
}

#[tokio::test]
async fn i18_a_private_authority_is_trusted_if_it_is_named() {
    let (folder, authority, key) = (TempDir::new().unwrap(), Authority::new(), SigningKey::new("a"));
    let stub = Stub::start_at("localhost", Some(authority.acceptor("localhost"))).await;
    stub.set("/keys", Page::json(key_set(&[&key])));
    let checked = check_issuer(&config(&stub, Some(authority.write(&folder)))).await.unwrap();
    assert_eq!(checked.keys.len(), 1);
    let error = check_issuer(&config(&stub, None)).await.unwrap_err();
    assert!(error.starts_with(&format!("{}/keys: ", stub.origin)), "{error}");
    assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");

    // A certificate for another name.
    let other = Stub::start_at("localhost", Some(authority.acceptor("id.example"))).await;
    let error = check_issuer(&config(&other, Some(authority.write(&folder)))).await.unwrap_err();
    assert!(error.contains("certificate not valid for name"), "{error}");
    // A server without TLS.
    let clear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&stub, None);
    config.keys = KeysFrom::Uri(format!("https://{}/keys", clear.local_addr().unwrap()).parse().unwrap());
    let (checked, ()) = tokio::join!(check_issuer(&config), async {
        let (mut stream, _) = clear.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = checked.unwrap_err();
    assert!(error.contains("corrupt message"), "{error}");
}

#[tokio::test]
async fn i18_a_file_that_gives_no_authority_is_named() {
    let folder = TempDir::new().unwrap();
    let stub = Stub::start().await;
    let path = folder.path().join("ca.pem");
    for (text, expected) in [
        (None, "No such file or directory"),
        (Some(""), "holds no certificate in PEM"),
        (Some("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"), "line"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = check_issuer(&config(&stub, Some(path.clone()))).await.unwrap_err();
        assert!(
            error.contains(&format!("ca_file {}: ", path.display())) && error.contains(expected),
            "{error}"
        );
    }
    assert_eq!(stub.connections(), 0);
}

/// Authorities are replaced now and then. The state tells what is wrong until then.
#[tokio::test]
async fn i18_the_file_is_read_again_when_it_changes() {
    let (folder, key) = (TempDir::new().unwrap(), SigningKey::new("a"));
    let (old, new) = (Authority::new(), Authority::new());
    let stub = Stub::start_at("localhost", Some(new.acceptor("localhost"))).await;
    stub.set("/keys", Page::json(key_set(&[&key])));
    let issuers = Issuers::new(vec![config(&stub, Some(old.write(&folder)))]);
    let issuer: Arc<Issuer> = issuers.iter().next().unwrap().clone();
    let task = tokio::spawn(keep_keys(issuer.clone(), Arc::new(()), std::future::pending()));
    let names_it = |error: &String| error.contains("invalid peer certificate");
    until("the TLS error is named", || issuer.state().last_error.as_ref().is_some_and(names_it)).await;
    assert_eq!(issuer.state().keys, 0);
    new.write(&folder);
    // The next try comes after 5 s.
    tokio::time::timeout(Duration::from_secs(20), async {
        while issuer.state().keys == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the new authority is read");
    assert_eq!(issuer.state().last_error, None);
    task.abort();
}
