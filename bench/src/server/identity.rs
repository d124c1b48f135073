//! What the gateway shows who speaks TLS with it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;

use super::proxies::free_address;
use super::{Launch, free_folder};

/// A certificate with a key of its own (ECDSA, P-256), in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct Identity {
    folder: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
    /// Where the gateway is to listen. Another process can take the port before it does; then its start fails.
    pub(crate) address: SocketAddr,
}

impl Identity {
    /// # Errors
    /// None can be made, or not be written.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        let folder = free_folder("identity")?;
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        let identity = Self { folder, certificate: cert.der().clone(), address: free_address()? };
        fs::write(identity.folder.join("chain.pem"), cert.pem())?;
        fs::write(identity.folder.join("key.pem"), signing_key.serialize_pem())?;
        Ok(identity)
    }

    /// The same launch, with TLS.
    pub(crate) fn with(&self, launch: &Launch) -> Launch {
        let file = |name| self.folder.join(name).to_string_lossy().into_owned();
        launch.with(&[
            ("HTTPS_CERTFILE", &file("chain.pem")),
            ("HTTPS_KEYFILE", &file("key.pem")),
            ("INBOUND_HTTPS_PORT", &self.address.port().to_string()),
            ("API_HTTPS_PORT", "0"),
        ])
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
