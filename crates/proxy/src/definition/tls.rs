//! `proxy.tls`: the files for HTTPS to a service, read once to check that they are usable.

use std::path::{Path, PathBuf};

use document::{MAX_KEYS, read_file};
use pem::{CertificateError, PrivateKeyError};

use super::TlsFiles;
use super::members::MemberReader;

/// Limit of a path, in bytes.
const MAX_PATH: usize = 4096;

pub(super) fn read(tls: &MemberReader<'_>) -> TlsFiles {
    tls.only(&["ca_file", "cert_file", "key_file"]);
    let ca = file(tls, "ca_file", |text| {
        pem::authorities(text).map(|found| found.warnings).map_err(no_certificate)
    });
    let certificate =
        file(tls, "cert_file", |text| pem::chain(text).map(|found| found.warnings).map_err(no_certificate));
    let key = file(tls, "key_file", |text| pem::private_key(text, None).map(|_| Vec::new()).map_err(no_key));
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if tls.value(one).is_some() && tls.value(other).is_none() {
            tls.fault(other, format!("must be present where {one} is"));
        }
    }
    TlsFiles { ca, client: certificate.zip(key) }
}

/// Reads the name of a file, which `check` must accept. `check` returns warnings, or a fault.
fn file(
    tls: &MemberReader<'_>,
    name: &str,
    check: impl Fn(&[u8]) -> Result<Vec<String>, String>,
) -> Option<PathBuf> {
    let path = PathBuf::from(tls.text(name, MAX_PATH)?);
    match text(&path).and_then(|text| check(&text)) {
        Ok(warnings) => {
            for warning in warnings {
                tls.warn(name, &warning);
            }
            Some(path)
        }
        Err(reason) => {
            tls.fault(name, reason);
            None
        }
    }
}

/// Reads a PEM file.
///
/// # Errors
/// Fails with a message if it cannot be read, is not a regular file, or is too large.
pub(crate) fn text(path: &Path) -> Result<Vec<u8>, String> {
    read_file(path, MAX_KEYS).map_err(|error| format!("cannot be read: {error}"))
}

fn no_certificate(error: CertificateError) -> String {
    match error {
        CertificateError::None => "must have a certificate as PEM".to_owned(),
        CertificateError::Pem(error) => format!("must be PEM: {error}"),
    }
}

fn no_key(error: PrivateKeyError) -> String {
    match error {
        PrivateKeyError::None => "must have a private key as PEM".to_owned(),
        PrivateKeyError::Pem(error) => format!("must be PEM: {error}"),
        PrivateKeyError::Locked { line } => format!("must not be encrypted (line {line})"),
    }
}
