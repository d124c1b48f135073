//! JWTs: one session for each client.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The secret that the gateway under test is given.
pub(crate) const SECRET: &str = "a-secret-of-the-benchmark-and-of-nothing-else";

/// The issuer of signed tokens.
pub(crate) const ISSUER: &str = "https://id.bench.example";

/// The audience of signed tokens, and the client of logout tokens.
pub(crate) const AUDIENCE: &str = "gateway";

/// The name of the key of signed tokens.
const KEY_ID: &str = "bench-1";

/// Seconds that a token is valid: longer than any run.
const VALID: u64 = 2 * 3600;

/// What a logout token is recognized by (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

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
    let key = EncodingKey::from_secret(SECRET.as_bytes())?;
    let claims = TokenClaims { sub: format!("client-{number}"), jti: session(number), exp: now()? + VALID };
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
}

fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Signature {
    Es256,
    /// With 2048 bits.
    Rs256,
}

/// Signs tokens with a key of its own, as an identity provider does.
pub(crate) struct Signer {
    key: EncodingKey,
    header: Header,
    public_key: String,
    jwk: Value,
}

impl Signer {
    /// With a new key.
    ///
    /// # Errors
    /// None can be made.
    pub(crate) fn new(signature: Signature) -> anyhow::Result<Self> {
        let (pair, algorithm) = match signature {
            Signature::Es256 => {
                (rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?, Algorithm::ES256)
            }
            Signature::Rs256 => {
                let bits = rcgen::RsaKeySize::_2048;
                (rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, bits)?, Algorithm::RS256)
            }
        };
        let pem = pair.serialize_pem();
        let (key, members) = match signature {
            Signature::Es256 => (EncodingKey::from_ec_pem(pem.as_bytes())?, p256(pair.public_key_raw())?),
            Signature::Rs256 => (EncodingKey::from_rsa_pem(pem.as_bytes())?, rsa(pair.public_key_raw())?),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(KEY_ID.to_owned());
        Ok(Self { key, header, public_key: pair.public_key_pem(), jwk: members })
    }

    /// The name of its algorithm (RFC 7518, section 3.1).
    pub(crate) fn algorithm(&self) -> String {
        format!("{:?}", self.header.alg)
    }

    /// What the gateway verifies with, as PEM.
    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The same as a set of keys (RFC 7517, section 5).
    pub(crate) fn key_set(&self) -> String {
        let mut key = self.jwk.clone();
        key["kid"] = KEY_ID.into();
        key["alg"] = self.algorithm().into();
        key["use"] = "sig".into();
        json!({ "keys": [key] }).to_string()
    }

    /// A token for the session of client `number`.
    pub(crate) fn mint(&self, number: u32) -> anyhow::Result<String> {
        self.sign(&signed_claims(number, session(number))?)
    }

    /// The logout token for that session (OpenID Connect Back-Channel Logout 1.0, section 2.4).
    pub(crate) fn logout(&self, number: u32) -> anyhow::Result<String> {
        let mut claims = signed_claims(number, format!("logout-{number}"))?;
        claims["events"] = json!({ LOGOUT: {} });
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        Ok(jsonwebtoken::encode(&self.header, claims, &self.key)?)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.header.alg).finish_non_exhaustive()
    }
}

/// What all tokens of the issuer say of client `number`.
fn signed_claims(number: u32, jti: String) -> anyhow::Result<Value> {
    let now = now()?;
    Ok(json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": format!("client-{number}"),
        "sid": session(number),
        "jti": jti,
        "iat": now,
        "exp": now + VALID,
    }))
}

/// The members of a key from its uncompressed point (SEC 1, section 2.3.3).
fn p256(point: &[u8]) -> anyhow::Result<Value> {
    let coordinates = point.strip_prefix(&[4]).filter(|point| point.len() == 64);
    let (x, y) = coordinates.context("not an uncompressed point of P-256")?.split_at(32);
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    Ok(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }))
}

/// The members of a key from its `RSAPublicKey` in DER (RFC 8017, appendix A.1.1), which has one
/// form for 2048 bits and the exponent 65537.
fn rsa(der: &[u8]) -> anyhow::Result<Value> {
    let modulus = der
        .strip_prefix(b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00")
        .and_then(|rest| rest.strip_suffix(b"\x02\x03\x01\x00\x01"))
        .filter(|modulus| modulus.len() == 256);
    let modulus = modulus.context("not an RSA key of 2048 bits with the exponent 65537")?;
    Ok(json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" }))
}
