//! Any text as a token, with keys of every kind and as one of an issuer: it is never valid. Then a
//! header on the first line and claims after it, with a valid signature: an accepted token has the
//! pinned algorithm, has not expired, and names a session or gives the reason why not.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::{Audience, ConfiguredKey, IssuerConfig, Issuers, KeySource, TokenConfig, Verifier};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;
use serde_json::Value;
use subscription::Extractors;

const SECRET: &str = "a-test-secret-of-thirty-two-bytes";

fn verifier(key: &str, algorithms: &str) -> Verifier {
    let algorithms = algorithms.parse().expect("names of algorithms");
    let key = ConfiguredKey::load(KeySource::parse(key).as_ref(), &algorithms).expect("the key fits");
    let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
    Verifier::new(Arc::new(key), config)
}

static OF_SECRET: LazyLock<Verifier> = LazyLock::new(|| verifier(SECRET, "HS256"));

static OTHERS: LazyLock<[Verifier; 6]> = LazyLock::new(|| {
    // Without keys: everything before the signature is checked.
    let issuers = Issuers::new(vec![IssuerConfig::new("i", "https://id.example", Audience::Any)]);
    [
        verifier("", "HS256"),
        verifier(SECRET, "HS256,HS384,HS512"),
        verifier(include_str!("keys/rsa.pem"), "RS256,RS384,RS512,PS256,PS384,PS512"),
        verifier(include_str!("keys/ec.pem"), "ES256"),
        verifier(include_str!("keys/ed25519.pem"), "EdDSA"),
        verifier("", "HS256").with_issuers(issuers),
    ]
});

static EXTRACTORS: LazyLock<Extractors> = LazyLock::new(|| {
    Extractors::from_json(
        r#"{"greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"},
            "jwt":{"json_pointer":"/username"}}}}"#,
    )
    .expect("extractors")
});

fn signed(header: &str, claims: &str) -> String {
    let message = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = EncodingKey::from_secret(SECRET.as_bytes()).expect("a key that is not empty");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("an HMAC");
    format!("{message}.{signature}")
}

fuzz_target!(|input: &str| {
    for verifier in std::iter::once(&*OF_SECRET).chain(&*OTHERS) {
        let verdict = in_proportion(input.as_bytes(), || verifier.verify(input));
        assert!(verdict.is_err(), "a token cannot be made without the key");
    }
    let Some((header, claims)) = input.split_once('\n') else { return };
    let token = signed(header, claims);
    assert!([0, 2, 5].iter().all(|other| OTHERS[*other].verify(&token).is_err()));
    let Ok(verified) = in_proportion(token.as_bytes(), || OF_SECRET.verify(&token)) else { return };
    let header: Value = serde_json::from_str(header).expect("the header of a valid token is JSON");
    assert_eq!(header["alg"], "HS256");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(verified.expires_at >= now);
    match session::Config::default().session_name(None, &verified.map) {
        Ok(name) => assert!(!name.as_str().is_empty()),
        Err(error) => assert!(error.to_string().contains("/jti")),
    }
    assert!(EXTRACTORS.subscriptions_for(&verified.map).len() <= 1);
});
