//! A certificate authority, for servers and clients of the tests.

use std::sync::Arc;

use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::folder::Folder;

/// A certificate authority, and the files that it has written.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

impl Authority {
    /// Creates an authority of this name.
    ///
    /// # Panics
    /// Panics if its file cannot be written.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let folder = Folder::new();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// Returns the file of its own certificate.
    pub fn file(&self) -> String {
        self.folder.join("ca.pem")
    }

    /// Returns the files of a certificate for this name, and of its key.
    ///
    /// # Panics
    /// Panics if they cannot be written.
    pub fn files(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.certify(&[name]);
        self.write(name, &certificate.pem(), &key.serialize_pem())
    }

    /// Returns the files of a certificate for this name, and of its key, which is encrypted.
    ///
    /// # Panics
    /// Panics if they cannot be written.
    pub fn locked_files(&self, name: &str, passphrase: &str) -> (String, String) {
        let (certificate, key) = self.certify(&[name]);
        let method = pbes2::Parameters::pbkdf2_sha256_aes256cbc(2048, b"a test's salt", &[7; 16]);
        let key = pkcs8::PrivateKeyInfo::try_from(key.serialized_der()).expect("PKCS#8");
        let key = key.encrypt_with_params(method.expect("a method"), passphrase).expect("an encrypted key");
        let key = key.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).expect("PEM");
        self.write(name, &certificate.pem(), &key)
    }

    /// Returns what a server with a certificate for these names needs. If `clients` is given,
    /// clients must present a certificate of that authority.
    pub(crate) fn server(&self, names: &[&str], clients: Option<&Self>) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.issuer.der().clone()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("authorities"))
            }
        };
        let (certificate, key) = self.certify(names);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = builder.with_single_cert(vec![certificate.into()], key.into());
        Arc::new(config.expect("a key and its certificate"))
    }

    fn certify(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names");
        params.distinguished_name.push(DnType::CommonName, names.concat());
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    fn write(&self, name: &str, certificate: &str, key: &str) -> (String, String) {
        let files = (self.folder.join(&format!("{name}.pem")), self.folder.join(&format!("{name}.key")));
        std::fs::write(&files.0, certificate).expect("a file");
        std::fs::write(&files.1, key).expect("a file");
        files
    }
}
