//! Keys of issuers in tests, and what they sign. The RSA keys are generated once for all tests of a
//! process.

use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use super::{Audience, IssuerConfig, Issuers};
use crate::claims::now;
use crate::key_set::KeySet;
use crate::{ConfiguredKey, KeySource, TokenConfig, Verifier};

/// The issuer of most tests.
pub(crate) const ISS: &str = "https://id.example/realms/main";

/// The secret of the static key, for HS256.
pub(crate) const SECRET: &str = "a-test-secret-and-nothing-else";

/// A key pair of an issuer.
pub(crate) struct TestKey {
    pub(crate) kid: Option<&'static str>,
    pair: Pair,
}

enum Pair {
    Rsa(&'static RsaKeyPair),
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

static RSA: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [0; 2].map(|_| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

impl TestKey {
    /// One of two RSA keys.
    pub(crate) fn rsa(kid: &'static str, number: usize) -> Self {
        Self { kid: Some(kid), pair: Pair::Rsa(&RSA[number]) }
    }

    pub(crate) fn p256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: Some(kid), pair: Pair::Ec("P-256", pair) }
    }

    pub(crate) fn p384(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self { kid: Some(kid), pair: Pair::Ec("P-384", pair) }
    }

    pub(crate) fn ed25519(kid: &'static str) -> Self {
        Self { kid: Some(kid), pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    pub(crate) fn without_kid(self) -> Self {
        Self { kid: None, ..self }
    }

    /// The public key, with `use`.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, appendix A.1.1) of 2048 bits: the modulus, then 65537.
                let der = pair.public_key().as_ref();
                assert_eq!(der.len(), 270);
                json!({"kty": "RSA", "n": base64url(&der[9..265]), "e": "AQAB"})
            }
            Pair::Ec(curve, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
        };
        jwk["use"] = json!("sig");
        if let Some(kid) = self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    /// The algorithm of most issuers with such a key.
    pub(crate) fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec("P-256", _) => "ES256",
            Pair::Ec(..) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// A header with the algorithm and the `kid` of this key, and no `typ`.
    pub(crate) fn header(&self) -> Value {
        let mut header = json!({"alg": self.algorithm()});
        if let Some(kid) = self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    /// A token with the header of this key.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of_texts(&header.to_string(), &claims.to_string())
    }

    /// A token of any header and payload, signed with the algorithm of the header where the key has
    /// it, else with its own.
    pub(crate) fn token_of_texts(&self, header: &str, payload: &str) -> String {
        let algorithm: Value = serde_json::from_str(header).unwrap_or_default();
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.sign(algorithm["alg"].as_str().unwrap_or_default(), message.as_bytes());
        format!("{message}.{}", base64url(signature))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; 256];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => signature::Signature::as_ref(&pair.sign(message)).to_vec(),
        }
    }
}

/// A token of a secret, as HS256.
pub(crate) fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64url(tag))
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A set of these keys.
pub(crate) fn key_set<'k>(keys: impl IntoIterator<Item = &'k TestKey>) -> Value {
    json!({"keys": keys.into_iter().map(TestKey::jwk).collect::<Vec<_>>()})
}

/// The settings of most tests: the defaults, for the audience `gateway`.
pub(crate) fn config() -> IssuerConfig {
    IssuerConfig::new("main", ISS, Audience::OneOf(vec!["gateway".to_owned()]))
}

/// Issuers with their key sets.
pub(crate) fn issuers(known: impl IntoIterator<Item = (IssuerConfig, Value)>) -> Issuers {
    let (configs, sets): (Vec<_>, Vec<_>) = known.into_iter().unzip();
    let issuers = Issuers::new(configs);
    for (issuer, set) in issuers.iter().zip(sets) {
        issuer.keys.put(Arc::new(KeySet::parse(set.to_string().as_bytes()).unwrap()));
    }
    issuers
}

/// A verifier of these issuers, with [`SECRET`] as the static key.
pub(crate) fn verifier(known: impl IntoIterator<Item = (IssuerConfig, Value)>) -> Verifier {
    let algorithms = "HS256".parse().unwrap();
    let key = ConfiguredKey::load(KeySource::parse(SECRET).as_ref(), &algorithms).unwrap();
    let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Verifier::new(Arc::new(key), config).with_issuers(issuers(known))
}

/// Valid claims of [`ISS`], with further ones or others in their place; null removes one.
pub(crate) fn claims(further: Value) -> Value {
    let all = json!({
        "iss": ISS, "aud": "gateway", "sub": "alice", "sid": "s1", "iat": seconds(0), "exp": seconds(3600),
    });
    with(all, further)
}

/// Replaces members; null removes one.
pub(crate) fn with(mut all: Value, further: Value) -> Value {
    let Value::Object(further) = further else { panic!("an object") };
    for (name, value) in further {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(&name)),
            value => all[name] = value,
        }
    }
    all
}

/// The time this many seconds from now, as tokens count it.
pub(crate) fn seconds(from_now: i64) -> i64 {
    now() as i64 + from_now
}

/// What was logged by this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the lines since the last call.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock());
        String::from_utf8(text).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
