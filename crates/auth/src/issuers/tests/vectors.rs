//! Wycheproof's vectors of key sets and of JSON Web Signatures, with the checks of issuers. The
//! payloads are not claims, so the signature is checked alone.
//!
//! `wycheproof_jose.json` is made of `json_web_key_test.json` and `json_web_signature_test.json`
//! (github.com/C2SP/wycheproof, commit dac1dd4, Apache-2.0): the public members of the keys, and of
//! the group of malformed RSA paddings the first 17 cases. The others are among the vectors of the
//! algorithm.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::testing::config;
use super::super::token::UnverifiedJwt;
use crate::{Issuers, KeySet, Kind};

#[derive(Deserialize)]
struct Group {
    source: String,
    keys: Vec<Value>,
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: u64,
    comment: String,
    result: String,
    jws: String,
}

/// Cases with another verdict, and why.
const KNOWN: [(&str, &[u64], &str); 3] = [
    ("json_web_key_test.json", &[7], "which prime numbers an issuer takes is not visible for others"),
    ("json_web_signature_test.json", &[346, 350], "the key is for PS256, the token says PS384"),
    ("json_web_signature_test.json", &[347, 351], "ES512 is not supported"),
];

/// Returns whether one of the keys signed the token.
fn is_signed(keys: &[Value], jws: &str) -> bool {
    let Ok(set) = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()) else { return false };
    let issuers = Issuers::new(vec![config()]);
    let issuer = issuers.iter().next().unwrap();
    issuer.keys.put(set.into());
    let Some((message, signature)) = jws.rsplit_once('.') else { return false };
    let Some((header, _)) = message.split_once('.') else { return false };
    let jwt = UnverifiedJwt { message, header, signature, claims: Map::new() };
    jwt.header().is_ok_and(|header| issuer.authenticate(&jwt, &header, Kind::Access).is_ok())
}

#[test]
fn i11_the_vectors_of_key_sets_and_signatures_have_their_verdicts() {
    let text = include_str!("../../../tests/vectors/wycheproof_jose.json");
    let groups: Vec<Group> = serde_json::from_str(text).unwrap();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for group in &groups {
        // A secret in a key set is never used.
        let is_secret = group.keys.iter().all(|key| key["kty"] == "oct");
        for case in &group.tests {
            let is_known =
                KNOWN.iter().any(|(source, ids, _)| *source == group.source && ids.contains(&case.id));
            let expected = (case.result == "valid" && !is_secret) != is_known;
            let verdict = is_signed(&group.keys, &case.jws);
            *(if verdict { &mut accepted } else { &mut refused }) += 1;
            if verdict != expected {
                wrong.push(format!("{} {} {}: {}", group.source, case.id, case.comment, case.result));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((accepted, refused), (34, 184));
}
