//! The certificate authorities that the gateway trusts as a TLS client of services, external
//! checks, collectors and other gateways.
//!
//! This crate knows the authorities of the system, and the provider and versions of TLS for
//! clients. It does not know their peers, and opens no socket.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Reads the authorities that the system trusts; the store may be empty. Blocks on disk I/O.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be parsed are skipped, since rustls and webpki do not support all
    // kinds.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Starts the configuration of a client that trusts these authorities. If there are none, every
/// handshake fails.
pub fn client(roots: impl Into<Arc<RootCertStore>>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
}

/// Returns the configuration of a client that trusts the system's authorities and presents no
/// certificate.
pub fn system_client() -> ClientConfig {
    client(system_roots()).with_no_client_auth()
}
