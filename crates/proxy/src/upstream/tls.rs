//! What HTTPS to a service is made of: whom the gateway trusts, and who it is itself.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::definition::{TlsFiles, pem};

/// Why there is no HTTPS to a service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    /// A file is not any more what it was when the definition was read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The member of `proxy.tls` that names it.
        field: &'static str,
        path: PathBuf,
        reason: String,
    },
    /// No certificate of the file can be one of an authority.
    #[error("{}: must have a certificate that can be trusted", .0.display())]
    Untrustworthy(PathBuf),
    /// The gateway's own certificate cannot be used, or not with this key.
    #[error("{}: cannot be used with {}: {source}", key.display(), certificate.display())]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    /// Nobody is trusted.
    #[error("must be present: the system has no certificates that are trusted")]
    NoSystem,
}

impl TlsFault {
    /// The member of `proxy.tls` that is wrong.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::File { field, .. } => field,
            Self::Untrustworthy(_) | Self::NoSystem => "ca_file",
            Self::Identity { .. } => "key_file",
        }
    }
}

/// The authorities that the system trusts, read once for many upstreams, and only for one that needs them.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceCell<Arc<RootCertStore>>);

impl SystemRoots {
    /// # Errors
    /// There are none.
    fn get(&self) -> Result<Arc<RootCertStore>, TlsFault> {
        let roots = self.0.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // Whatever of them can be read is good; rustls and webpki need not know all kinds there are.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        if roots.is_empty() { Err(TlsFault::NoSystem) } else { Ok(roots.clone()) }
    }
}

/// The configuration of connections to the servers of an API. Reads its files.
///
/// # Errors
/// A file cannot be read or used, or nobody would be trusted.
pub(crate) fn client_config(
    files: &TlsFiles,
    http2: bool,
    system: &SystemRoots,
) -> Result<Arc<ClientConfig>, TlsFault> {
    let roots = match &files.ca {
        Some(path) => Arc::new(authorities(path)?),
        None => system.get()?,
    };
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("cert_file", certificate)?;
            let unlike =
                |source| TlsFault::Identity { certificate: certificate.clone(), key: key.clone(), source };
            builder.with_client_auth_cert(chain, private_key(key)?).map_err(unlike)?
        }
    };
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    // A bundle may have some that nobody can use.
    roots.add_parsable_certificates(certificates("ca_file", path)?);
    if roots.is_empty() { Err(TlsFault::Untrustworthy(path.to_owned())) } else { Ok(roots) }
}

fn certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let fault = |reason| TlsFault::File { field, path: path.to_owned(), reason };
    let text = pem(path).map_err(fault)?;
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| fault(error.to_string()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let fault = |reason| TlsFault::File { field: "key_file", path: path.to_owned(), reason };
    let text = pem(path).map_err(fault)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| fault(error.to_string()))
}
