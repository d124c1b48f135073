//! Runs Wycheproof's vectors of JSON Web Signatures through the verifier: `jws_vectors
//! json_web_signature_test.json`.
//!
//! A token that is valid there must pass the check of the signature (its payload is not claims); an
//! invalid one must not. Prints each case with another verdict, with the reason if it is known.
//! Fails if one is unknown.

use std::error::Error;
use std::process::ExitCode;

use rig_auth::{Algorithms, TokenError};
use serde_json::Value;

#[path = "../tests/jwk/mod.rs"]
mod jwk;

/// Cases with another verdict than Wycheproof's, and why.
const KNOWN: [(&[u64], &str); 5] = [
    (&[346, 350], "the key is for PS256, the token says PS384: the algorithm is the key's, not the token's"),
    (&[347, 351], "ES512 is not offered"),
    (&[353, 354, 355, 356], "use and key_ops of a JWK, of which a key in PEM knows nothing"),
    (&[367, 370], "the same token, letter by letter, as case 357, which is valid"),
    (&[372, 373], "a character beside the alphabet of base64url is an error (RFC 7515, section 2)"),
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: jws_vectors FILE")?;
    let suite: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let (mut as_expected, mut known, mut unknown) = (0, 0, 0);
    for group in list(&suite["testGroups"]) {
        for test in list(&group["tests"]) {
            let (id, comment) = (test["tcId"].as_u64().unwrap_or_default(), &test["comment"]);
            if gets_past_the_signature(group, test) == (test["result"] == "valid") {
                as_expected += 1;
            } else if let Some((_, why)) = KNOWN.iter().find(|(ids, _)| ids.contains(&id)) {
                known += 1;
                println!("{id} {comment}, {} there: {why}", test["result"]);
            } else {
                unknown += 1;
                println!("{id} {comment}, {} there: WRONG", test["result"]);
            }
        }
    }
    let total = suite["numberOfTests"].as_u64().unwrap_or_default();
    println!("{as_expected} of {total} as expected, {known} otherwise for a known reason, {unknown} wrong");
    let complete = as_expected + known + unknown == total && total > 0;
    Ok(if unknown == 0 && complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn gets_past_the_signature(group: &Value, test: &Value) -> bool {
    let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    // If the key names no algorithm, the token may, among those that the key supports.
    let algorithm = key["alg"].as_str().map_or_else(|| of_kind(key), str::to_owned);
    if algorithm.parse::<Algorithms>().is_err() {
        return false;
    }
    let Ok(verifier) = jwk::verifier(key, &algorithm) else { return false };
    match verifier.verify(test["jws"].as_str().unwrap_or_default()) {
        Ok(_) | Err(TokenError::Expired | TokenError::Malformed) => true,
        Err(_) => false,
    }
}

/// Returns all algorithms of this kind of key.
fn of_kind(key: &Value) -> String {
    match (key["kty"].as_str(), key["crv"].as_str()) {
        (_, Some("P-256")) => "ES256",
        (_, Some("P-384")) => "ES384",
        (_, Some("Ed25519")) => "EdDSA",
        (Some("oct"), _) => "HS256,HS384,HS512",
        _ => "RS256,RS384,RS512,PS256,PS384,PS512",
    }
    .to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
