//! JWTs: one session for each client.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// The secret that the gateway under test is given.
pub(crate) const SECRET: &str = "a-secret-of-the-benchmark-and-of-nothing-else";

/// Seconds that a token is valid: longer than any run.
const VALID: u64 = 2 * 3600;

#[derive(Serialize)]
struct TokenClaims {
    sub: String,
    jti: String,
    exp: u64,
}

/// The session of client `number`.
pub(crate) fn session(number: u32) -> String {
    format!("bench-{number}")
}

/// An HS256 token for that session.
pub(crate) fn mint(number: u32) -> anyhow::Result<String> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Ok(jsonwebtoken::encode(&Header::default(), &claims(number)?, &key)?)
}

fn claims(number: u32) -> anyhow::Result<TokenClaims> {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + VALID;
    Ok(TokenClaims { sub: format!("client-{number}"), jti: session(number), exp })
}

/// Signs ES256 tokens with a key of its own.
pub(crate) struct Signer {
    key: EncodingKey,
    public_key: String,
}

impl Signer {
    /// With a new key.
    ///
    /// # Errors
    /// None can be made.
    pub(crate) fn es256() -> anyhow::Result<Self> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes())?;
        Ok(Self { key, public_key: pair.public_key_pem() })
    }

    /// What the gateway verifies with, as PEM.
    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// A token for the session of client `number`.
    pub(crate) fn mint(&self, number: u32) -> anyhow::Result<String> {
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims(number)?, &self.key)?)
    }
}
