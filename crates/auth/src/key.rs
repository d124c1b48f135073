//! The key that verifies tokens, and the algorithms it may be used with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use pem::PemError;

mod public;
#[cfg(test)]
mod vectors;

/// The allowed algorithms (`JWT_ALG`): one or more, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(pub(crate) Vec<Algorithm>);

/// `JWT_ALG` contains an unknown algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one or more, separated by commas, of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
)]
pub struct AlgorithmsError;

impl Algorithms {
    /// Returns those that tokens of issuers may use unless the settings say otherwise: all that
    /// sign with a private key.
    pub fn of_issuers() -> Self {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        Self(vec![RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA])
    }

    /// Returns `true` if none of them signs with a secret.
    pub fn is_asymmetric(&self) -> bool {
        self.0.iter().all(|algorithm| family(*algorithm) != AlgorithmFamily::Hmac)
    }
}

impl FromStr for Algorithms {
    type Err = AlgorithmsError;

    fn from_str(names: &str) -> Result<Self, AlgorithmsError> {
        // "none" is not an algorithm here, whatever its case.
        let algorithms: Result<Vec<_>, _> = names.split(',').map(|name| name.trim().parse()).collect();
        algorithms.map(Self).map_err(|_| AlgorithmsError)
    }
}

/// Where the key comes from (`JWT_SECRET_KEY`): the secret itself, a public key in PEM, or a file
/// with either.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The text of the setting.
    Text(String),
    /// A file.
    File(PathBuf),
}

impl KeySource {
    /// Parses the value of the setting. `None` if it is empty: then no token is valid (d12). A
    /// value that begins with `/` or `./` is a path if such a file exists: one Base64 secret in 64
    /// begins with `/`, too.
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "" => None,
            path if begins_like_a_path(path) && exists(path) => Some(Self::File(path.into())),
            text => Some(Self::Text(text.to_owned())),
        }
    }

    /// Returns whether it is a text that could have been meant as a path.
    pub fn looks_like_a_path(&self) -> bool {
        matches!(self, Self::Text(text) if begins_like_a_path(text))
    }
}

fn begins_like_a_path(value: &str) -> bool {
    value.starts_with('/') || value.starts_with("./")
}

/// Returns whether a file may exist at this path: false only if the system says that it does not,
/// or that the text cannot be a name.
fn exists(path: &str) -> bool {
    use std::io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match std::fs::metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput),
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The key cannot be used. Never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// A private key, which a gateway that only verifies must not have.
    #[error("a private key; give the public key instead")]
    PrivateKey,
    /// A public key in an unsupported form. Used as a secret, everyone would know it.
    #[error("a public key as {0}; expected PEM (openssl pkey -pubin … -pubout)")]
    Form(&'static str),
    /// A second public key, which would never be used.
    #[error("more than one public key; tokens are verified with one")]
    Several,
    /// The PEM is damaged.
    #[error("PEM: {0}")]
    Damaged(#[from] PemError),
    /// The PEM contains no public key of a supported kind.
    #[error("not a public key in PEM (RSA, EC P-256 or P-384, Ed25519)")]
    Pem,
    /// The key is not of the kind that the algorithm requires.
    #[error("the key is of another kind than {0:?} in JWT_ALG needs")]
    Algorithm(Algorithm),
}

/// Loads a key and checks that every allowed algorithm may use it: a public key never serves as the
/// secret of an HMAC.
pub(crate) fn load(source: &KeySource, algorithms: &Algorithms) -> Result<DecodingKey, KeyError> {
    let bytes = match source {
        KeySource::Text(text) => text.clone().into_bytes(),
        KeySource::File(path) => document::read_file(path, document::MAX_KEYS)
            .map_err(|source| KeyError::Read { path: path.clone(), source })?,
    };
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::PrivateKey);
    }
    let key = if text.contains("-----BEGIN") {
        // An environment variable often carries line breaks as \n.
        let pem = text.replace("\\n", "\n");
        if pem.matches("PUBLIC KEY-----").count() > 2 {
            return Err(KeyError::Several);
        }
        let key = DecodingKey::from_rsa_pem(pem.as_bytes())
            .or_else(|_| DecodingKey::from_ec_pem(pem.as_bytes()))
            .or_else(|_| DecodingKey::from_ed_pem(pem.as_bytes()));
        let Ok(key) = key else {
            pem::check(pem.as_bytes())?;
            return Err(KeyError::Pem);
        };
        if key.family() == AlgorithmFamily::Ec {
            of_curve(&pem, algorithms)?;
        }
        key
    } else {
        let secret = match source {
            KeySource::Text(_) => &bytes[..],
            // Editors add a line feed to the last line of a file.
            KeySource::File(_) => bytes.trim_ascii_end(),
        };
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        if let Some(form) = public::form(secret) {
            return Err(KeyError::Form(form));
        }
        DecodingKey::from_secret(secret).map_err(|_| KeyError::Empty)?
    };
    for algorithm in &algorithms.0 {
        if family(*algorithm) != key.family() {
            return Err(KeyError::Algorithm(*algorithm));
        }
    }
    Ok(key)
}

/// Checks that one of the algorithms fits the key's curve: otherwise, no token would ever be valid.
fn of_curve(pem: &str, algorithms: &Algorithms) -> Result<(), KeyError> {
    let curves = [Algorithm::ES256, Algorithm::ES384].into_iter().zip(public::curves(pem));
    let mut allowed = curves.filter(|(_, found)| *found).map(|(algorithm, _)| algorithm).peekable();
    if allowed.peek().is_none() {
        return Err(KeyError::Pem);
    }
    match algorithms.0.first() {
        Some(first) if allowed.all(|algorithm| !algorithms.0.contains(&algorithm)) => {
            Err(KeyError::Algorithm(*first))
        }
        _ => Ok(()),
    }
}

fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmFamily::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Rsa,
    }
}
