//! Certificates of clients, in real handshakes and while their connections are open.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{Acceptor, Tls, refused_certificate};

/// A folder that is removed when the variable is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rig-client-ca-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
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

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
struct Own(rcgen::Certificate, KeyPair);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Own {
    let mut params = CertificateParams::new(vec!["ci.example".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Own(params.signed_by(&key, authority).unwrap(), key)
}

/// A server that asks for certificates of an authority, and the authority of its own.
struct World {
    folder: Folder,
    server: Authority,
    clients: Authority,
    authorities: ClientAuthorities,
    acceptor: Mutex<Acceptor>,
}

impl World {
    fn new(name: &str) -> Self {
        let (folder, server, clients) = (Folder::new(name), authority("server"), authority("clients"));
        let Own(certificate, key) = issued(&server, |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())]
        });
        let chain = folder.write("chain.pem", &certificate.pem());
        let key = folder.write("key.pem", &key.serialize_pem());
        let (authorities, warnings) =
            ClientAuthorities::load(&folder.write("clients.pem", &clients.pem())).unwrap();
        assert_eq!(warnings, [""; 0]);
        let (tls, _) = Tls::load(&chain, &key, None).unwrap();
        let acceptor = Mutex::new(tls.acceptor(Some(authorities.clone())));
        Self { folder, server, clients, authorities, acceptor }
    }

    fn client(&self, own: Option<&Own>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(Own(certificate, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                builder.with_client_auth_cert(vec![certificate.der().clone()], key.into()).unwrap()
            }
        }
    }

    /// Connects, and reads a byte that the server sends after the handshake. Returns the server's
    /// result, and the kind of the client's handshake if it succeeded.
    async fn connect(
        &self,
        client: &Arc<ClientConfig>,
    ) -> (io::Result<Option<Arc<ClientCertificate>>>, Option<HandshakeKind>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let handshake = self.acceptor.lock().next();
        let serve = async {
            let (mut stream, certificate) = handshake.accept(listener.accept().await.unwrap().0).await?;
            stream.write_all(b"x").await?;
            stream.shutdown().await?;
            io::Result::Ok(certificate)
        };
        let ask = async {
            let connector = TlsConnector::from(client.clone());
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, tcp).await.ok()?;
            stream.read_u8().await.ok()?;
            stream.get_ref().1.handshake_kind()
        };
        tokio::join!(serve, ask)
    }
}

fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

#[tokio::test]
async fn i35_a_client_with_a_certificate_of_the_authority_is_known_and_one_without_is_let_in() {
    let world = World::new("known");
    let own = issued(&world.clients, |_| {});
    let (certificate, _) = world.connect(&Arc::new(world.client(Some(&own)))).await;
    let certificate = certificate.unwrap().unwrap();
    assert!(certificate.has(&name("ci.example")) && certificate.is_valid());
    assert!(!certificate.has(&name("other.example")));

    let (certificate, kind) = world.connect(&Arc::new(world.client(None))).await;
    assert!(certificate.unwrap().is_none());
    assert!(kind.is_some(), "it has a connection");
}

#[tokio::test]
async fn i35_a_certificate_that_cannot_be_verified_fails_the_handshake() {
    let world = World::new("refused");
    let other = authority("clients");
    let past = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    };
    let of_server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    };
    for (what, own) in [
        ("another authority of the same name", issued(&other, |_| {})),
        ("the authority of the server", issued(&world.server, |_| {})),
        ("expired", issued(&world.clients, past)),
        ("for servers only", issued(&world.clients, of_server)),
    ] {
        let (refused, kind) = world.connect(&Arc::new(world.client(Some(&own)))).await;
        let error = refused.unwrap_err();
        assert!(refused_certificate(&error).is_some(), "{what}: {error}");
        assert_eq!(kind, None, "{what}: the client is told");
    }
}

#[tokio::test]
async fn other_errors_of_a_handshake_are_not_those_of_a_certificate() {
    assert!(refused_certificate(&ErrorKind::UnexpectedEof.into()).is_none());
    let other = io::Error::new(ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
    assert!(refused_certificate(&other).is_none());
    let of_certificate = rustls::Error::InvalidCertificate(CertificateError::Expired);
    let error = io::Error::new(ErrorKind::InvalidData, of_certificate);
    assert_eq!(refused_certificate(&error), Some(&CertificateError::Expired));
}

#[tokio::test]
async fn no_session_is_resumed_since_that_would_skip_the_verification() {
    let world = World::new("resumed");
    let own = issued(&world.clients, |_| {});
    // One configuration for both connections: it keeps the tickets.
    let client = Arc::new(world.client(Some(&own)));
    for turn in 0..2 {
        let (certificate, kind) = world.connect(&client).await;
        assert!(certificate.unwrap().is_some(), "{turn}");
        assert_eq!(kind, Some(HandshakeKind::Full), "{turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_loses_a_certificate_that_expires() {
    let world = World::new("expires");
    let own = issued(&world.clients, |params| params.not_after = date_time_ymd(2100, 1, 1));
    let certificate = ClientCertificate::new(&[own.0.der().clone()], &world.authorities);
    let (begin, in_2101) = (Instant::now(), UnixTime::since_unix_epoch(Duration::from_secs(4_133_980_800)));
    assert!(certificate.is_valid());
    assert!(certificate.is_valid_at(in_2101, begin + VERIFIED_FOR - Duration::from_millis(1)), "cached");
    assert!(!certificate.is_valid_at(in_2101, begin + VERIFIED_FOR));
    assert!(!certificate.is_valid_at(in_2101, begin + VERIFIED_FOR), "it stays so");
}

#[tokio::test]
async fn an_authority_that_is_taken_out_of_the_file_vouches_for_no_open_connection() {
    let world = World::new("reload");
    let path = world.folder.0.join("clients.pem");
    let own = issued(&world.clients, |_| {});
    let client = Arc::new(world.client(Some(&own)));
    let certificate = world.connect(&client).await.0.unwrap().unwrap();

    let next = authority("next");
    std::fs::write(&path, next.pem() + &world.clients.pem()).unwrap();
    world.authorities.refresh(false);
    assert!(certificate.is_valid(), "both vouch for their own");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
    world.authorities.refresh(false);
    assert!(certificate.is_valid(), "a file that cannot be used changes nothing");

    std::fs::write(&path, next.pem()).unwrap();
    world.authorities.refresh(false);
    assert!(!certificate.is_valid());
    assert!(world.connect(&client).await.0.is_err());
}

#[test]
fn a_file_without_a_usable_authority_is_refused_with_its_name() {
    let folder = Folder::new("files");
    let error = |name: &str, text: &str| {
        let error = ClientAuthorities::load(&folder.write(name, text)).unwrap_err().to_string();
        let shown = error.replace(&folder.0.display().to_string(), "");
        assert!(shown.starts_with(&format!("/{name}: ")), "{shown}");
        shown
    };
    assert_eq!(error("empty", ""), "/empty: holds no certificate in PEM");
    let key = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(error("key", &key), "/key: holds no certificate in PEM");
    assert!(ClientAuthorities::load(&folder.0.join("none")).is_err());
    let no_certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(
        error("useless", no_certificate),
        "/useless: holds no certificate that can be used as an authority"
    );
}
