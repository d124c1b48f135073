//! TLS: certificate and key from files, reloaded while the process runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use document::{MAX_KEYS, WatchedFiles, read_file};
use parking_lot::{Mutex, RwLock};
use pem::{CertificateError, PrivateKeyError};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client_certificate::{ClientAuthorities, ClientCertificate};

/// A TLS identity that can be reloaded; clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ReloadableIdentity>);

#[derive(Debug)]
struct ReloadableIdentity {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    watched: Mutex<WatchedFiles>,
}

#[derive(Debug)]
struct Files {
    certificates: PathBuf,
    key: PathBuf,
    passphrase: Option<String>,
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no certificate that can be used.
    #[error("{path}: {source}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
    /// The file holds no private key that can be used.
    #[error("{path}: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PrivateKeyError,
    },
    /// The key is encrypted, and the passphrase is missing or wrong.
    #[error("{}: the key is encrypted, and HTTPS_KEYFILE_PASS is missing or wrong", .0.display())]
    Passphrase(PathBuf),
    /// The key does not belong to the certificate, or its type is not supported.
    #[error("{}: not the key of the certificate: {source}", path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
        /// The reason that the check gave.
        source: rustls::Error,
    },
    /// None of the certificates in the file can be used as an authority.
    #[error("{}: holds no certificate that can be used as an authority", .0.display())]
    NoAuthority(PathBuf),
}

/// Accepts the TLS connections of one port.
pub(crate) struct Acceptor {
    tls: Tls,
    /// The authorities of the certificates that clients are asked for, if they are.
    clients: Option<ClientAuthorities>,
    /// Made for this generation of the authorities.
    current: (TlsAcceptor, u64),
}

/// The handshake of one connection.
pub(crate) struct Handshake {
    acceptor: TlsAcceptor,
    clients: Option<ClientAuthorities>,
}

impl Tls {
    /// Reads a certificate chain and its key, which may be encrypted PKCS#8. Also returns warnings
    /// about properties that clients will probably not accept.
    ///
    /// # Errors
    /// Fails with the file and what is wrong with it.
    pub fn load(
        certificates: &Path,
        key: &Path,
        passphrase: Option<&str>,
    ) -> Result<(Self, Vec<String>), TlsError> {
        let files = Files {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            passphrase: passphrase.map(str::to_owned),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Created before the files are read, so that `refresh` notices a change meanwhile.
        let watched = Mutex::new(WatchedFiles::new([files.certificates.clone(), files.key.clone()]));
        let (current, warnings) = files.read(&provider)?;
        let current = RwLock::new(Arc::new(current));
        Ok((Self(Arc::new(ReloadableIdentity { files, provider, current, watched })), warnings))
    }

    /// Reads the files again if one has changed, or if `forced`. New handshakes use the new
    /// certificate; open connections are not affected. If a file cannot be used, the old
    /// certificate stays in use. May block on disk I/O.
    pub fn refresh(&self, forced: bool) {
        let ReloadableIdentity { files, provider, current, watched } = &*self.0;
        match watched.lock().refresh(forced, || files.read(provider)) {
            Some(Ok((fresh, warnings))) => {
                *current.write() = Arc::new(fresh);
                tracing::info!("certificate reloaded");
                for warning in warnings {
                    tracing::warn!(warning, "warning about the new certificate");
                }
            }
            Some(Err(error)) => tracing::error!(%error, "certificate not reloaded, the old one stays"),
            None => {}
        }
    }

    /// Returns what accepts connections. With authorities, clients are asked for a certificate.
    pub(crate) fn acceptor(&self, clients: Option<ClientAuthorities>) -> Acceptor {
        let current = self.accepting(clients.as_ref());
        Acceptor { tls: self.clone(), clients, current }
    }

    fn accepting(&self, clients: Option<&ClientAuthorities>) -> (TlsAcceptor, u64) {
        let (verifier, generation) = clients.map(ClientAuthorities::verifier).unzip();
        (TlsAcceptor::from(Arc::new(self.config(verifier))), generation.unwrap_or_default())
    }

    fn config(&self, clients: Option<Arc<dyn ClientCertVerifier>>) -> ServerConfig {
        let asks = clients.is_some();
        let builder = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_cert_resolver(self.0.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if asks {
            // A resumed session keeps the certificate of its first handshake, which is not verified
            // again (RFC 8446, section 2.2). A session that began without one would stay without.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config
    }
}

impl Acceptor {
    /// Returns the handshake of the next connection, with the authorities of now.
    pub(crate) fn next(&mut self) -> Handshake {
        if self.clients.as_ref().is_some_and(|clients| clients.verifier().1 != self.current.1) {
            self.current = self.tls.accepting(self.clients.as_ref());
        }
        Handshake { acceptor: self.current.0.clone(), clients: self.clients.clone() }
    }
}

impl Handshake {
    /// Accepts a connection. The certificate is that of the client, if it has presented one.
    ///
    /// # Errors
    /// Fails if the handshake does, because of the certificate or otherwise.
    pub(crate) async fn accept(
        self,
        tcp: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Arc<ClientCertificate>>)> {
        let stream = self.acceptor.accept(tcp).await?;
        let presented = stream.get_ref().1.peer_certificates();
        let certificate = presented
            .zip(self.clients.as_ref())
            .map(|(chain, clients)| Arc::new(ClientCertificate::new(chain, clients)));
        Ok((stream, certificate))
    }
}

/// Returns why the certificate of a client is refused, if a handshake has failed because of it.
pub(crate) fn refused_certificate(error: &io::Error) -> Option<&rustls::CertificateError> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(reason) => Some(reason),
        _ => None,
    }
}

impl ResolvesServerCert for ReloadableIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Files {
    fn read(&self, provider: &CryptoProvider) -> Result<(CertifiedKey, Vec<String>), TlsError> {
        let path = &self.certificates;
        let unusable = |source| TlsError::Certificate { path: path.clone(), source };
        let chain = pem::chain(&read(path)?).map_err(unusable)?;
        let warnings = chain.warnings.iter().map(|warning| format!("{}: {warning}", path.display()));
        let path = &self.key;
        let key =
            pem::private_key(&read(path)?, self.passphrase.as_deref()).map_err(|source| match source {
                PrivateKeyError::Locked { .. } => TlsError::Passphrase(path.clone()),
                source => TlsError::Key { path: path.clone(), source },
            })?;
        let certified = CertifiedKey::from_der(chain.certificates, key, provider);
        let certified = certified.map_err(|source| TlsError::Mismatch { path: path.clone(), source })?;
        Ok((certified, warnings.collect()))
    }
}

/// Reads a file of certificates or keys.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(path, MAX_KEYS).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
