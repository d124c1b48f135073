//! Verifies the examples of the RFCs: RFC 7515 (appendix A), RFC 7520 (section 4), RFC 8037
//! (appendix A).

mod jwk;

use rig_auth::{Algorithms, TokenError, Verifier};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Example {
    source: String,
    algorithm: String,
    key: Value,
    token: String,
    /// `claims`, which expired in 2011, or a `text`.
    signs: String,
}

fn examples() -> Vec<Example> {
    let examples: Vec<Example> = serde_json::from_str(include_str!("vectors/rfc.json")).expect("examples");
    assert_eq!(examples.len(), 7);
    examples
}

fn verifier(example: &Example, algorithms: &str) -> Verifier {
    jwk::verifier(&example.key, algorithms).unwrap_or_else(|error| panic!("{}: {error}", example.source))
}

#[test]
fn their_signatures_are_good() {
    for example in examples() {
        let verdict = verifier(&example, &example.algorithm).verify(&example.token);
        let expected = if example.signs == "claims" { TokenError::Expired } else { TokenError::Malformed };
        assert_eq!(verdict.err(), Some(expected), "{}", example.source);
    }
}

#[test]
fn with_any_other_letter_they_are_not() {
    for example in examples() {
        let verifier = verifier(&example, &example.algorithm);
        for (at, letter) in example.token.char_indices() {
            let other = if letter == 'A' { 'B' } else { 'A' };
            let mut changed = example.token.clone();
            changed.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
            let verdict = verifier.verify(&changed);
            assert_eq!(verdict.err(), Some(TokenError::Signature), "{}, letter {at}", example.source);
        }
    }
}

#[test]
fn for_another_algorithm_of_the_same_key_they_are_not() {
    for example in examples() {
        for others in ["HS384,HS512", "RS384,RS512,PS256,PS512", "ES384"] {
            let Ok(verifier) = jwk::verifier(&example.key, others) else { continue };
            assert_eq!(
                verifier.verify(&example.token).err(),
                Some(TokenError::Signature),
                "{}",
                example.source
            );
        }
    }
}

/// RFC 7515, appendix A.5.
#[test]
fn unsecured_ones_are_refused() {
    let example = &examples()[0];
    let verifier = verifier(example, "HS256");
    let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert_eq!(verifier.verify(unsecured).err(), Some(TokenError::Signature));
    assert!("none".parse::<Algorithms>().is_err());
    // The example in RFC 7515, appendix A.4, is signed with ES512, which is not supported.
    assert!("ES512".parse::<Algorithms>().is_err());
}
