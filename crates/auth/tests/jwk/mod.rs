//! Creates a verifier from a JSON Web Key (RFC 7517), the form of the keys in vectors.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rig_auth::{ConfiguredKey, KeyError, KeySource, TokenConfig, Verifier};
use serde_json::Value;

/// Creates a verifier with this key for these algorithms.
///
/// # Errors
/// Fails if the key is of another kind than the algorithms need.
pub(crate) fn verifier(jwk: &Value, algorithms: &str) -> Result<Verifier, KeyError> {
    let file = TemporaryFile::new(&match jwk["kty"].as_str() {
        Some("oct") => member(jwk, "k"),
        _ => pem(jwk).into_bytes(),
    });
    let algorithms = algorithms.parse().expect("names of algorithms");
    let key = ConfiguredKey::load(Some(&KeySource::File(file.0.clone())), &algorithms)?;
    let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Ok(Verifier::new(Arc::new(key), config))
}

/// A file for secrets, which may be arbitrary bytes.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("rig-jwk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// The DER tags (X.690) in a public key.
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const NULL: u8 = 5;
const IDENTIFIER: u8 = 6;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1, 1.2.840.10045.2.1, 1.2.840.10045.3.1.7, 1.3.132.0.34 and .35, 1.3.101.112.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P_256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P_384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const P_521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Returns the public key as SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
fn pem(jwk: &Value) -> String {
    let point = || [&[4], &member(jwk, "x")[..], &member(jwk, "y")].concat();
    let (algorithm, key) = match jwk["crv"].as_str() {
        None => {
            let numbers =
                [der(INTEGER, &unsigned(member(jwk, "n"))), der(INTEGER, &unsigned(member(jwk, "e")))];
            ([der(IDENTIFIER, RSA), der(NULL, &[])].concat(), der(SEQUENCE, &numbers.concat()))
        }
        Some("P-256") => ([der(IDENTIFIER, EC), der(IDENTIFIER, P_256)].concat(), point()),
        Some("P-384") => ([der(IDENTIFIER, EC), der(IDENTIFIER, P_384)].concat(), point()),
        Some("P-521") => ([der(IDENTIFIER, EC), der(IDENTIFIER, P_521)].concat(), point()),
        Some("Ed25519") => (der(IDENTIFIER, ED25519), member(jwk, "x")),
        Some(other) => panic!("the curve {other}"),
    };
    let info = [der(SEQUENCE, &algorithm), der(BIT_STRING, &[&[0], &key[..]].concat())].concat();
    let base64 = BASE64_STANDARD.encode(der(SEQUENCE, &info));
    format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [head, content.to_vec()].concat()
}

/// Prepends a zero to a number whose first bit is set, since it would be negative in DER.
fn unsigned(number: Vec<u8>) -> Vec<u8> {
    if number.first().is_some_and(|byte| *byte >= 0x80) { [vec![0], number].concat() } else { number }
}

fn member(jwk: &Value, name: &str) -> Vec<u8> {
    let text = jwk[name].as_str().unwrap_or_else(|| panic!("the key has no {name}"));
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")
}
