//! `proxy.tls`: the files of HTTPS to a service, read once to see that they can be used.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsFiles;
use super::members::Members;

/// The largest PEM file, in bytes: a bundle of all public authorities is a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// The longest path, in bytes.
const MAX_PATH: usize = 4096;

pub(super) fn read(tls: &Members<'_>) -> TlsFiles {
    tls.only(&["ca_file", "cert_file", "key_file"]);
    let ca = file(tls, "ca_file", has_certificate);
    let certificate = file(tls, "cert_file", has_certificate);
    let key = file(tls, "key_file", has_key);
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if tls.value(one).is_some() && tls.value(other).is_none() {
            tls.fault(other, format!("must be present where {one} is"));
        }
    }
    TlsFiles { ca, client: certificate.zip(key) }
}

fn file(tls: &Members<'_>, name: &str, check: fn(&[u8]) -> Result<(), &'static str>) -> Option<PathBuf> {
    let path = PathBuf::from(tls.text(name, MAX_PATH)?);
    let checked = pem(&path).and_then(|pem| check(&pem).map_err(str::to_owned));
    checked.map_err(|reason| tls.fault(name, reason)).ok().map(|()| path)
}

/// What a PEM file has.
///
/// # Errors
/// It cannot be read, is none, or is too large: what is wrong with it, in words.
pub(crate) fn pem(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Only files: a pipe would be waited for.
    match fs::metadata(path).map_err(unreadable)? {
        file if !file.is_file() => Err("must be a file".to_owned()),
        file if file.len() > MAX_FILE => Err(format!("must have at most {MAX_FILE} bytes")),
        _ => fs::read(path).map_err(unreadable),
    }
}

fn has_certificate(pem: &[u8]) -> Result<(), &'static str> {
    let mut any = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        certificate.map_err(|_| "must be PEM")?;
        any = true;
    }
    if any { Ok(()) } else { Err("must have a certificate as PEM") }
}

fn has_key(pem: &[u8]) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map(drop).map_err(|_| "must have a private key as PEM")
}
