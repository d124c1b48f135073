//! TLS: certificate and key from files, exchanged while running.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::pem::PemLabel;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at for a new certificate.
const WATCH: Duration = Duration::from_secs(5);

/// A TLS identity that can be exchanged; clones are the same one.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    /// When the files that were loaded at the start had been changed.
    loaded: Changed,
}

/// The time of the last change of each file; none where it cannot be told.
type Changed = [Option<SystemTime>; 2];

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
    /// The file holds no certificate in PEM.
    #[error("{}: holds no certificate in PEM", .0.display())]
    Certificate(PathBuf),
    /// The file holds no private key in PEM.
    #[error("{}: holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)", .0.display())]
    Key(PathBuf),
    /// The key is encrypted and there is no passphrase, or not the right one.
    #[error("{}: the key is encrypted and HTTPS_KEYFILE_PASS does not open it", .0.display())]
    Passphrase(PathBuf),
    /// The key is not that of the certificate, or of a kind that is not supported.
    #[error("{}: not the key of the certificate: {source}", path.display())]
    Mismatch {
        /// The key's file.
        path: PathBuf,
        /// What the check said.
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads a certificate chain and its key, which may be an encrypted PKCS#8 one.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(certificates: &Path, key: &Path, passphrase: Option<&str>) -> Result<Self, TlsError> {
        let files = Files {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            passphrase: passphrase.map(str::to_owned),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Before they are read: a change meanwhile is seen by `watch`.
        let loaded = files.changed();
        let current = RwLock::new(Arc::new(files.read(&provider)?));
        Ok(Self(Arc::new(Identity { files, provider, current, loaded })))
    }

    /// Reads the files again. New handshakes use what they hold; open connections go on.
    ///
    /// # Errors
    /// As [`Tls::load`]; then the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = self.0.files.read(&self.0.provider)?;
        *self.0.current.write() = Arc::new(fresh);
        Ok(())
    }

    /// Reloads whenever one of the files changes; runs for ever.
    pub async fn watch(&self) {
        let mut known = self.0.loaded;
        let mut ticks = tokio::time::interval(WATCH);
        loop {
            ticks.tick().await;
            let now = self.0.files.changed();
            if now != known {
                known = now;
                match self.reload() {
                    Ok(()) => tracing::info!("certificate reloaded"),
                    Err(error) => tracing::error!(%error, "certificate not reloaded, the old one stays"),
                }
            }
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(self.0.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.0.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Files {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let pem = self.text(&self.certificates)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(TlsError::Certificate(self.certificates.clone()));
        }
        CertifiedKey::from_der(chain, self.private_key()?, provider)
            .map_err(|source| TlsError::Mismatch { path: self.key.clone(), source })
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let pem = self.text(&self.key)?;
        if let Ok(text) = std::str::from_utf8(&pem)
            && text.contains(EncryptedPrivateKeyInfo::PEM_LABEL)
        {
            let locked = || TlsError::Passphrase(self.key.clone());
            let passphrase = self.passphrase.as_deref().ok_or_else(locked)?;
            let (_, document) =
                pkcs8::SecretDocument::from_pem(text).map_err(|_| TlsError::Key(self.key.clone()))?;
            let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| locked())?;
            let key = encrypted.decrypt(passphrase).map_err(|_| locked())?;
            return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
        }
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Key(self.key.clone()))
    }

    fn text(&self, path: &Path) -> Result<Vec<u8>, TlsError> {
        fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
    }

    fn changed(&self) -> Changed {
        [&self.certificates, &self.key].map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}
