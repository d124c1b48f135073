//! Chains of certificates, and certificates of authorities.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError as Verdict, Error, RootCertStore};
use webpki::EndEntityCert;

use crate::block::{Block, PemError, blocks, shown};

/// What may stand beside certificates in a file: keys and their parameters.
const BESIDE: &[&str] = &[
    "PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "EC PARAMETERS",
    "DH PARAMETERS",
];

/// Why a file gives no certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It has none.
    #[error("holds no certificate in PEM")]
    None,
    /// It is damaged, or holds something else.
    #[error("{0}")]
    Pem(#[from] PemError),
}

/// A certificate and those that vouch for it.
#[derive(Debug)]
pub struct Chain {
    /// The certificates, in the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    /// What clients will probably not accept, each with its line.
    pub warnings: Vec<String>,
}

/// The authorities to trust.
#[derive(Debug)]
pub struct Authorities {
    /// The certificates of the file that can be used.
    pub roots: RootCertStore,
    /// Certificates that cannot be used or have expired, each with its line.
    pub warnings: Vec<String>,
}

/// A certificate, and the line where it begins.
type Located = (usize, CertificateDer<'static>);

/// Reads a chain, the certificate of the server or client first (RFC 8446, section 4.4.2).
///
/// # Errors
/// Fails if there is no certificate, or a block is damaged or not a certificate.
pub fn chain(pem: &[u8]) -> Result<Chain, CertificateError> {
    let located = certificates(pem)?;
    for (line, certificate) in &located {
        EndEntityCert::try_from(certificate)
            .map_err(|error| PemError::new(*line, format!("the block is no X.509 certificate: {error:?}")))?;
    }
    let now = now();
    let mut warnings: Vec<_> = located.iter().filter_map(|one| out_of_time(one, now)).collect();
    warnings.extend(broken_link(&located, now));
    Ok(Chain { certificates: located.into_iter().map(|(_, certificate)| certificate).collect(), warnings })
}

/// Reads the certificates of authorities. A bundle may have some that cannot be used.
///
/// # Errors
/// Fails if there is no certificate, or a block is damaged.
pub fn authorities(pem: &[u8]) -> Result<Authorities, CertificateError> {
    let (mut roots, mut warnings, now) = (RootCertStore::empty(), Vec::new(), now());
    for one in certificates(pem)? {
        warnings.extend(out_of_time(&one, now));
        let (line, certificate) = one;
        if let Err(error) = roots.add(certificate) {
            warnings.push(format!("line {line}: a certificate that cannot be used as an authority: {error}"));
        }
    }
    Ok(Authorities { roots, warnings })
}

fn certificates(pem: &[u8]) -> Result<Vec<Located>, CertificateError> {
    let mut found = Vec::new();
    for Block { label, line, der, .. } in blocks(pem)? {
        match label.as_str() {
            "CERTIFICATE" => found.push((line, der.into())),
            beside if BESIDE.contains(&beside) => {}
            "TRUSTED CERTIFICATE" => {
                let reason = "a block TRUSTED CERTIFICATE, which OpenSSL alone reads; openssl x509 makes a CERTIFICATE of it";
                return Err(PemError::new(line, reason).into());
            }
            other => {
                let reason = format!("a block {}, where CERTIFICATE is expected", shown(other));
                return Err(PemError::new(line, reason).into());
            }
        }
    }
    if found.is_empty() { Err(CertificateError::None) } else { Ok(found) }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns the first fault that the verifier of rustls finds.
fn verdict(
    certificate: &CertificateDer<'_>,
    roots: &RootCertStore,
    between: &[CertificateDer<'_>],
    now: UnixTime,
) -> Option<Verdict> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    match verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms) {
        Err(Error::InvalidCertificate(verdict)) => Some(verdict),
        _ => None,
    }
}

/// A certificate that has expired or is not valid yet: this is the first of its faults to be found.
fn out_of_time((line, certificate): &Located, now: UnixTime) -> Option<String> {
    match verdict(certificate, &RootCertStore::empty(), &[], now)? {
        Verdict::Expired | Verdict::ExpiredContext { .. } => {
            Some(format!("line {line}: the certificate has expired"))
        }
        Verdict::NotValidYet | Verdict::NotValidYetContext { .. } => {
            Some(format!("line {line}: the certificate is not valid yet"))
        }
        _ => None,
    }
}

/// Finds the first certificate that the next one does not vouch for.
fn broken_link(chain: &[Located], now: UnixTime) -> Option<String> {
    let name = |certificate, of: fn(&EndEntityCert<'_>) -> Vec<u8>| {
        EndEntityCert::try_from(certificate).ok().map(|parsed| of(&parsed))
    };
    for pair in chain.windows(2) {
        let issuer = name(&pair[0].1, |parsed| parsed.issuer().to_vec());
        if issuer != name(&pair[1].1, |parsed| parsed.subject().to_vec()) {
            return Some(format!("line {}: not the certificate of who issued the one before it", pair[1].0));
        }
    }
    let [(_, first), between @ .., (line, last)] = chain else { return None };
    let mut roots = RootCertStore::empty();
    roots.add(last.clone()).ok()?;
    let between: Vec<_> = between.iter().map(|(_, certificate)| certificate.clone()).collect();
    match verdict(first, &roots, &between, now)? {
        Verdict::BadSignature | Verdict::UnknownIssuer => {
            Some(format!("line {line}: the signatures of the chain do not lead to this certificate"))
        }
        _ => None,
    }
}
