//! What the gateway shows who speaks TLS with it.

use std::net::SocketAddr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::CertificateDer;

use super::Launch;
use super::place::{TempFolder, free_address};

/// A certificate with a key of its own (ECDSA, P-256), in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct Identity {
    folder: TempFolder,
    pub(crate) certificate: CertificateDer<'static>,
    /// Where the gateway is to listen. Another process can take the port before it does; then its
    /// start fails.
    pub(crate) address: SocketAddr,
}

impl Identity {
    /// # Errors
    /// None can be made, or not be written.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        let folder = TempFolder::new("identity")?;
        folder.write("chain.pem", &cert.pem())?;
        folder.write("key.pem", &signing_key.serialize_pem())?;
        Ok(Self { folder, certificate: cert.der().clone(), address: free_address()? })
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
