//! Keys that sign tokens of tests.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// A key with its `kid`.
pub(crate) struct SigningKey {
    kid: &'static str,
    pair: KeyPair,
}

impl SigningKey {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { kid, pair: KeyPair::generate().unwrap() }
    }

    pub(crate) fn jwk(&self) -> Value {
        // An uncompressed point of P-256.
        let point = self.pair.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "x": x, "y": y})
    }

    /// Returns a token for an hour.
    pub(crate) fn token(&self, issuer: &str) -> String {
        self.token_with(issuer, None, json!({}))
    }

    /// Returns a token of a type, with further claims or others in their place.
    pub(crate) fn token_with(&self, issuer: &str, typ: Option<&str>, more: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims =
            json!({"iss": issuer, "sub": "alice", "aud": "gateway", "iat": now, "exp": now + 3600});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        if let Some(typ) = typ {
            header.typ = Some(typ.to_owned());
        }
        let key = EncodingKey::from_ec_der(self.pair.serialized_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

/// Returns the key set of these keys.
pub(crate) fn key_set(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
