//! Private keys.

use pkcs8::pkcs5;
use pkcs8::{EncryptedPrivateKeyInfo, ObjectIdentifier};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use crate::block::{Block, PemError, blocks, shown};

/// Why a file gives no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// It has none.
    #[error("holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")]
    None,
    /// It is damaged, holds several keys, or one of a kind that is not supported.
    #[error("{0}")]
    Pem(#[from] PemError),
    /// It is encrypted, and there is no passphrase, or another one.
    #[error("line {line}: the key is encrypted, and the passphrase does not open it")]
    Locked {
        /// The line of the block, from 1.
        line: usize,
    },
}

/// Ways of encryption that are not supported, by their object identifiers.
const UNSUPPORTED: [(&str, &str); 8] = [
    ("1.2.840.113549.3.7", "DES-EDE3-CBC"),
    ("1.3.14.3.2.7", "DES-CBC"),
    ("1.2.840.113549.3.2", "RC2-CBC"),
    ("1.2.840.113549.1.12.1.3", "PBE-SHA1-3DES"),
    ("1.2.840.113549.1.12.1.4", "PBE-SHA1-2DES"),
    ("1.2.840.113549.1.12.1.6", "PBE-SHA1-RC2-40"),
    ("1.2.840.113549.1.5.3", "PBE-MD5-DES"),
    ("1.2.840.113549.1.5.10", "PBE-SHA1-DES"),
];

/// How to convert a key to a supported form.
const CONVERT: &str = "openssl pkcs8 -topk8 -v2 aes-256-cbc makes one that is read";

/// Reads the one private key. Certificates and parameters may stand beside it.
///
/// # Errors
/// Fails if there is no key or more than one, a block is damaged, or the key is encrypted and
/// `passphrase` does not open it.
pub fn private_key(pem: &[u8], passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    let mut found: Option<Block> = None;
    for block in blocks(pem)? {
        match block.label.as_str() {
            "CERTIFICATE" | "EC PARAMETERS" | "DH PARAMETERS" => {}
            "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => {
                if let Some(first) = &found {
                    let reason = format!("a second private key; the first is at line {}", first.line);
                    return Err(PemError::new(block.line, reason).into());
                }
                found = Some(block);
            }
            other => {
                let reason = format!("a block {}, where a private key is expected", shown(other));
                return Err(PemError::new(block.line, reason).into());
            }
        }
    }
    opened(found.ok_or(PrivateKeyError::None)?, passphrase)
}

fn opened(block: Block, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    let Block { label, line, der, cipher } = block;
    if let Some(cipher) = cipher {
        let form =
            format!("the key is encrypted in OpenSSL's older form ({cipher}), which is not read; {CONVERT}");
        return Err(PemError::new(line, form).into());
    }
    Ok(match label.as_str() {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der).into(),
        _ => decrypted(&der, line, passphrase)?,
    })
}

fn decrypted(
    der: &[u8],
    line: usize,
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, PrivateKeyError> {
    let unsupported = || {
        let text = format!("the key is encrypted by {}, which is not supported; {CONVERT}", method(der));
        PrivateKeyError::from(PemError::new(line, text))
    };
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| unsupported())?;
    let passphrase = passphrase.ok_or(PrivateKeyError::Locked { line })?;
    match encrypted.decrypt(passphrase) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::AlgorithmParametersInvalid { .. },
        )) => Err(unsupported()),
        Err(_) => Err(PrivateKeyError::Locked { line }),
    }
}

/// Names how a key is encrypted, by an object identifier in the description that comes first.
fn method(der: &[u8]) -> &'static str {
    let description = &der[..der.len().min(200)];
    let has = |part: &[u8]| description.windows(part.len()).any(|window| window == part);
    let named = UNSUPPORTED.iter().find(|(identifier, _)| {
        let identifier = ObjectIdentifier::new_unwrap(identifier);
        let length = u8::try_from(identifier.as_bytes().len()).unwrap_or_default();
        has(&[&[6, length], identifier.as_bytes()].concat())
    });
    named.map_or("an algorithm of another kind", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn identifier(text: &str) -> Vec<u8> {
        element(6, ObjectIdentifier::new_unwrap(text).as_bytes())
    }

    fn told(algorithm: &[u8]) -> String {
        let key = element(0x30, &[element(0x30, algorithm), element(4, &[7; 16])].concat());
        let base64 = STANDARD.encode(key);
        let pem =
            format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{base64}\n-----END ENCRYPTED PRIVATE KEY-----\n");
        private_key(pem.as_bytes(), Some("a passphrase")).unwrap_err().to_string()
    }

    #[test]
    fn f34_a_way_of_encryption_that_is_not_supported_is_named() {
        let parameters = element(0x30, &[element(4, &[1; 8]), element(2, &[8, 0])].concat());
        let derived = element(0x30, &[identifier("1.2.840.113549.1.5.12"), parameters.clone()].concat());
        let cipher = element(0x30, &[identifier("1.2.840.113549.3.7"), element(4, &[2; 8])].concat());
        let pbes2 =
            [identifier("1.2.840.113549.1.5.13"), element(0x30, &[derived, cipher].concat())].concat();
        let expected = "line 1: the key is encrypted by DES-EDE3-CBC, which is not supported; ";
        assert!(told(&pbes2).starts_with(expected), "{}", told(&pbes2));
        for (number, name) in [
            ("1.2.840.113549.1.12.1.3", "PBE-SHA1-3DES"),
            ("1.2.840.113549.1.5.3", "PBE-MD5-DES"),
            ("1.2.3.4", "an algorithm of another kind"),
        ] {
            let text = told(&[identifier(number), parameters.clone()].concat());
            assert!(text.contains(&format!("encrypted by {name}, which is not supported")), "{text}");
        }
    }
}
