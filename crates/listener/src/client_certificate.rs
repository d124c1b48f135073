//! Certificates of clients (TLS client authentication, RFC 8446, section 4.3.2): the authorities
//! that vouch for them, and what a verified one says.
//!
//! A client may connect without a certificate. One that cannot be verified fails the handshake. A
//! verified one is verified again while its connection is open, because connections outlive
//! certificates and the authorities' file.

mod names;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use document::WatchedFiles;
use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::time::Instant;

use crate::tls::{TlsError, read};
pub use names::{CertificateName, CertificateNameError};

/// How long the result of a verification is used again. So an open connection loses the rights of
/// an expired certificate within this time; if the authorities change, at once.
const VERIFIED_FOR: Duration = Duration::from_secs(10);

/// The authorities that issue the certificates of clients, from a file that can be reloaded; clones
/// share them.
#[derive(Clone)]
pub struct ClientAuthorities(Arc<ReloadableAuthorities>);

struct ReloadableAuthorities {
    path: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<CurrentAuthorities>,
    watched: Mutex<WatchedFiles>,
}

/// What was read last.
#[derive(Clone)]
struct CurrentAuthorities {
    verifier: Arc<dyn ClientCertVerifier>,
    /// How many times the file was read.
    generation: u64,
}

/// The verified certificate of the client of a connection.
pub struct ClientCertificate {
    /// The certificate, followed by those of intermediate authorities.
    chain: Vec<CertificateDer<'static>>,
    names: Vec<CertificateName>,
    authorities: ClientAuthorities,
    verified: Mutex<Verification>,
}

/// The result of a verification.
#[derive(Clone, Copy)]
struct Verification {
    good: bool,
    generation: u64,
    at: Instant,
}

impl ClientAuthorities {
    /// Reads the certificates of authorities from a PEM file. Also returns warnings about those
    /// that cannot be used, or have expired.
    ///
    /// # Errors
    /// Fails with the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<String>), TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        // Created before the file is read, so that `refresh` notices a change meanwhile.
        let watched = Mutex::new(WatchedFiles::new([path.to_owned()]));
        let (verifier, warnings) = read_authorities(path, &provider)?;
        let current = RwLock::new(CurrentAuthorities { verifier, generation: 0 });
        let authorities = ReloadableAuthorities { path: path.to_owned(), provider, current, watched };
        Ok((Self(Arc::new(authorities)), warnings))
    }

    /// Reads the file again if it has changed, or if `forced`. From then on certificates need the
    /// new authorities, also those of open connections. If the file cannot be used, the old
    /// authorities stay in use. May block on disk I/O.
    pub fn refresh(&self, forced: bool) {
        let ReloadableAuthorities { path, provider, current, watched } = &*self.0;
        match watched.lock().refresh(forced, || read_authorities(path, provider)) {
            Some(Ok((verifier, warnings))) => {
                let mut current = current.write();
                *current = CurrentAuthorities { verifier, generation: current.generation + 1 };
                tracing::info!("authorities of client certificates reloaded");
                for warning in warnings {
                    tracing::warn!(warning, "warning about the new authorities");
                }
            }
            Some(Err(error)) => {
                tracing::error!(%error, "authorities of client certificates not reloaded, the old ones stay");
            }
            None => {}
        }
    }

    /// Returns the verifier for handshakes, and its generation.
    pub(crate) fn verifier(&self) -> (Arc<dyn ClientCertVerifier>, u64) {
        let CurrentAuthorities { verifier, generation } = self.0.current.read().clone();
        (verifier, generation)
    }

    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime, at: Instant) -> Verification {
        let (verifier, generation) = self.verifier();
        let good = chain
            .split_first()
            .is_some_and(|(own, between)| verifier.verify_client_cert(own, between, now).is_ok());
        Verification { good, generation, at }
    }
}

impl ClientCertificate {
    /// Returns the certificate that a client presented in a handshake, which has verified it.
    pub(crate) fn new(chain: &[CertificateDer<'_>], authorities: &ClientAuthorities) -> Self {
        let chain: Vec<_> = chain.iter().map(|one| one.clone().into_owned()).collect();
        let names = chain.first().map(|own| names::of(own)).unwrap_or_default();
        // Verified again, because the handshake may have used the authorities before a reload.
        let verified = authorities.verify(&chain, UnixTime::now(), Instant::now());
        Self { chain, names, authorities: authorities.clone(), verified: Mutex::new(verified) }
    }

    /// Returns whether this is one of the certificate's subject alternative names.
    pub fn has(&self, name: &CertificateName) -> bool {
        self.names.contains(name)
    }

    /// Returns whether the certificate is valid now: it has not expired, and the authorities of now
    /// vouch for it.
    pub fn is_valid(&self) -> bool {
        self.is_valid_at(UnixTime::now(), Instant::now())
    }

    fn is_valid_at(&self, now: UnixTime, at: Instant) -> bool {
        let mut verified = self.verified.lock();
        let is_recent = at.saturating_duration_since(verified.at) < VERIFIED_FOR;
        if !is_recent || verified.generation != self.authorities.0.current.read().generation {
            *verified = self.authorities.verify(&self.chain, now, at);
        }
        verified.good
    }
}

/// Reads the authorities of a file, and returns the verifier that trusts them.
fn read_authorities(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Vec<String>), TlsError> {
    let unusable = |source| TlsError::Certificate { path: path.to_owned(), source };
    let pem::Authorities { roots, warnings } = pem::authorities(&read(path)?).map_err(unusable)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|_| TlsError::NoAuthority(path.to_owned()))?;
    let warnings = warnings.iter().map(|warning| format!("{}: {warning}", path.display())).collect();
    Ok((verifier, warnings))
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuthorities").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
