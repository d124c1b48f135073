//! TLS settings for connections to services: trusted authorities, and the gateway's own
//! certificate.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use document::WatchedFiles;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};

use crate::definition::{TlsFiles, pem_text};

/// Why HTTPS to a service is not possible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    /// A file has changed since the definition was read, and is not usable any more.
    #[error("{}: {reason}", path.display())]
    File {
        /// The member of `proxy.tls` that names it.
        field: &'static str,
        path: PathBuf,
        reason: String,
    },
    /// No certificate of the file is usable as that of an authority.
    #[error("{}: must have a certificate that can be trusted", .0.display())]
    Untrustworthy(PathBuf),
    /// The gateway's own certificate cannot be used, or does not belong to this key.
    #[error("{}: cannot be used with {}: {source}", key.display(), certificate.display())]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    /// No authority is trusted.
    #[error("must be present: the system has no certificates that are trusted")]
    NoSystem,
}

impl TlsFault {
    /// Returns the invalid member of `proxy.tls`.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::File { field, .. } => field,
            Self::Untrustworthy(_) | Self::NoSystem => "ca_file",
            Self::Identity { .. } => "key_file",
        }
    }
}

/// The authorities that the system trusts, read once for many upstreams, and only if one needs
/// them.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceCell<Arc<RootCertStore>>);

impl SystemRoots {
    /// # Errors
    /// Fails if the system has none.
    fn get(&self) -> Result<Arc<RootCertStore>, TlsFault> {
        let roots = self.0.get_or_init(|| Arc::new(trust::system_roots()));
        if roots.is_empty() { Err(TlsFault::NoSystem) } else { Ok(roots.clone()) }
    }
}

/// The credentials for connections to the servers of an API, read again if their files change.
#[derive(Debug)]
pub(super) struct ClientTls {
    files: TlsFiles,
    http2: bool,
    config: ArcSwap<ClientConfig>,
    watched: Mutex<WatchedFiles>,
}

impl ClientTls {
    /// # Errors
    /// Fails if a file cannot be read or used, or no authority would be trusted.
    pub(super) fn load(files: &TlsFiles, http2: bool, system: &SystemRoots) -> Result<Self, TlsFault> {
        let paths = files.ca.iter().chain(files.client.iter().flat_map(|(chain, key)| [chain, key]));
        // Created before the files are read, so that `refresh` detects a change meanwhile.
        let watched = Mutex::new(WatchedFiles::new(paths.cloned()));
        let config = ArcSwap::new(client_config(files, http2, system)?);
        Ok(Self { files: files.clone(), http2, config, watched })
    }

    /// Returns the settings of new connections.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// Reads the files again if one has changed, or if `forced`. Returns whether there are new
    /// credentials; unusable files leave the old ones in force. May block on a disk.
    pub(super) fn refresh(&self, api: &str, forced: bool) -> bool {
        if self.files == TlsFiles::default() {
            return false;
        }
        let read = || client_config(&self.files, self.http2, &SystemRoots::default());
        match self.watched.lock().refresh(forced, read) {
            Some(Ok(config)) => {
                self.config.store(config);
                tracing::info!(api, "certificates for a service reloaded");
                true
            }
            Some(Err(error)) => {
                tracing::warn!(api, %error, "certificates for a service not reloaded, the old ones stay");
                false
            }
            None => false,
        }
    }
}

/// Reads the files.
fn client_config(files: &TlsFiles, http2: bool, system: &SystemRoots) -> Result<Arc<ClientConfig>, TlsFault> {
    let roots = match &files.ca {
        Some(path) => Arc::new(authorities(path)?),
        None => system.get()?,
    };
    let builder = trust::client(roots);
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = read("cert_file", certificate, pem::chain)?.certificates;
            let private = read("key_file", key, |text| pem::private_key(text, None))?;
            let unlike =
                |source| TlsFault::Identity { certificate: certificate.clone(), key: key.clone(), source };
            builder.with_client_auth_cert(chain, private).map_err(unlike)?
        }
    };
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsFault> {
    let roots = read("ca_file", path, pem::authorities)?.roots;
    if roots.is_empty() { Err(TlsFault::Untrustworthy(path.to_owned())) } else { Ok(roots) }
}

/// Reads and parses a file.
fn read<T, E: ToString>(
    field: &'static str,
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<T, TlsFault> {
    let parsed = pem_text(path).and_then(|text| parse(&text).map_err(|error| error.to_string()));
    parsed.map_err(|reason| TlsFault::File { field, path: path.to_owned(), reason })
}
