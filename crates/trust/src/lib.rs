//! Whom the gateway trusts where it is the client of TLS: at services, external checks, collectors,
//! other gateways.
//!
//! The room knows the authorities of the system, and with which provider and which versions clients
//! speak TLS. It does not know whom they talk to, and opens no socket.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Reads the authorities that the system trusts; none if it has none. Waits for the disk.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Those that can be read are good; rustls and webpki need not know all kinds of certificates.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Begins the configuration of a client that trusts these authorities. Without any, every handshake
/// fails.
pub fn client(roots: impl Into<Arc<RootCertStore>>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
}

/// Configures a client that trusts the system's authorities and shows no certificate.
pub fn system_client() -> ClientConfig {
    client(system_roots()).with_no_client_auth()
}
