//! Wycheproof's vectors of the algorithms for tokens: keys in the form of the setting and in that
//! of key sets, signatures in that of tokens.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

use super::{Algorithms, KeySource, load};
use crate::KeySet;

/// Counts the cases of one algorithm and collects those with another verdict.
struct Verdicts {
    algorithm: Algorithm,
    accepted: usize,
    refused: usize,
    wrong: Vec<String>,
}

impl Verdicts {
    fn of(algorithm: Algorithm) -> Self {
        Self { algorithm, accepted: 0, refused: 0, wrong: Vec::new() }
    }

    /// Loads the key of a group in the same way as the setting, and as a key set.
    fn keys(&self, text: &str, jwk: &Value) -> [DecodingKey; 2] {
        let source = KeySource::parse(text).expect("a key");
        let key = load(&source, &Algorithms(vec![self.algorithm]));
        let set = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes());
        let set = set.unwrap_or_else(|error| panic!("{error}: {jwk}"));
        let of_set = set.choose(None, self.algorithm).next().unwrap_or_else(|| panic!("{jwk}"));
        [key.unwrap_or_else(|error| panic!("{error}: {text}")), of_set.key().0.clone()]
    }

    fn check_all(
        &mut self,
        id: usize,
        keys: &[DecodingKey; 2],
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
    ) {
        for key in keys {
            self.check(id, key, message, signature, expected);
        }
    }

    fn check(
        &mut self,
        id: usize,
        key: &DecodingKey,
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
    ) {
        let signature = base64url(signature);
        let accepted = crypto::verify(&signature, message, key, self.algorithm).unwrap_or(false);
        *(if accepted { &mut self.accepted } else { &mut self.refused }) += 1;
        let may_be_accepted = expected != TestResult::Invalid;
        let may_be_refused = expected != TestResult::Valid;
        if !(if accepted { may_be_accepted } else { may_be_refused }) {
            self.wrong.push(format!("{:?} case {id}: {expected:?}, accepted: {accepted}", self.algorithm));
        }
    }

    fn end(self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.accepted > 0 && self.refused > 0, "{:?}: {} accepted", self.algorithm, self.accepted);
    }
}

fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn rs_of_every_length() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for (algorithm, sets) in [
        (Algorithm::RS256, [TestName::Rsa2048Sha256, TestName::Rsa4096Sha256]),
        (Algorithm::RS384, [TestName::Rsa2048Sha384, TestName::Rsa4096Sha384]),
        (Algorithm::RS512, [TestName::Rsa2048Sha512, TestName::Rsa4096Sha512]),
    ] {
        let mut verdicts = Verdicts::of(algorithm);
        for group in sets.iter().flat_map(|set| TestSet::load(*set).unwrap().test_groups) {
            let jwk = json!({"kty": "RSA", "n": base64url(&group.key.n), "e": base64url(&group.key.e)});
            let keys = verdicts.keys(&group.pem, &jwk);
            for test in &group.tests {
                verdicts.check_all(test.tc_id, &keys, &test.msg, &test.sig, test.result);
            }
        }
        verdicts.end();
    }
}

#[test]
fn ps_of_every_length() {
    use rsa_pss_verify::{TestName, TestSet};
    // The salt is as long as the hash (RFC 7518, section 3.5).
    for (algorithm, set) in [
        (Algorithm::PS256, TestName::RsaPss2048Sha256Mgf1SaltLen32),
        (Algorithm::PS384, TestName::RsaPss4096Sha384Mgf1SaltLen48),
        (Algorithm::PS512, TestName::RsaPss4096Sha512Mgf1SaltLen64),
    ] {
        let mut verdicts = Verdicts::of(algorithm);
        for group in TestSet::load(set).unwrap().test_groups {
            let jwk = json!({"kty": "RSA", "n": base64url(&group.key.n), "e": base64url(&group.key.e)});
            let keys = verdicts.keys(&group.pem, &jwk);
            for test in &group.tests {
                verdicts.check_all(test.tc_id, &keys, &test.msg, &test.sig, test.result);
            }
        }
        verdicts.end();
    }
}

#[test]
fn es_of_both_curves() {
    use ecdsa::{TestName, TestSet};
    for (algorithm, set) in [
        (Algorithm::ES256, TestName::EcdsaSecp256r1Sha256P1363),
        (Algorithm::ES384, TestName::EcdsaSecp384r1Sha384P1363),
    ] {
        let mut verdicts = Verdicts::of(algorithm);
        for group in TestSet::load(set).unwrap().test_groups {
            // The point without its first byte: uncompressed.
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let curve = if algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
            let jwk = json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)});
            let keys = verdicts.keys(&group.pem, &jwk);
            for test in &group.tests {
                verdicts.check_all(test.tc_id, &keys, &test.msg, &test.sig, test.result);
            }
        }
        verdicts.end();
    }
}

#[test]
fn eddsa_of_ed25519() {
    let mut verdicts = Verdicts::of(Algorithm::EdDSA);
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&group.key.pk)});
        let keys = verdicts.keys(&group.pem, &jwk);
        for test in &group.tests {
            verdicts.check_all(test.tc_id, &keys, &test.msg, &test.sig, test.result);
        }
    }
    verdicts.end();
}

#[test]
fn hs_of_every_length() {
    use mac::{TestName, TestSet};
    for (algorithm, set, bits) in [
        (Algorithm::HS256, TestName::HmacSha256, 256),
        (Algorithm::HS384, TestName::HmacSha384, 384),
        (Algorithm::HS512, TestName::HmacSha512, 512),
    ] {
        let mut verdicts = Verdicts::of(algorithm);
        for group in TestSet::load(set).unwrap().test_groups {
            for test in &group.tests {
                // Used directly, since the keys are arbitrary bytes, which a setting cannot
                // contain.
                let key = DecodingKey::from_secret(&test.key).expect("a key that is not empty");
                // Tokens never contain truncated tags, so none of those may be accepted.
                let whole = group.tag_size == bits;
                let expected = if whole { test.result } else { TestResult::Invalid };
                verdicts.check(test.tc_id, &key, &test.msg, &test.tag, expected);
            }
        }
        verdicts.end();
    }
}
