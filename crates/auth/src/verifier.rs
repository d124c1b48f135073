//! Verifies tokens and returns their claims (RFC 7519, RFC 7515).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use document::JsonError;
use jsonwebtoken::{Header, crypto, decode_header};
use serde_json::{Map, Value};

use crate::key::Algorithms;
use crate::keys::Keys;

/// Limit of the length of a token, in bytes.
const MAX_TOKEN: usize = 16 << 10;

/// The requirements for tokens, in addition to a valid signature.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The allowed algorithms; the header of a token can only choose among these.
    pub algorithms: Algorithms,
    /// The required `iss`, if any.
    pub issuer: Option<String>,
    /// The accepted audiences: `aud` must contain one of them, if there are any.
    pub audience: Vec<String>,
    /// Allowed difference of clocks, for `exp` and `nbf`.
    pub leeway: Duration,
}

/// Verifies tokens with the current keys.
pub struct Verifier {
    keys: Arc<dyn Keys>,
    config: TokenConfig,
}

/// The claims of a valid token.
#[derive(Clone)]
pub struct Claims {
    /// All claims.
    pub map: Map<String, Value>,
    /// `exp`, in seconds since 1970.
    pub expires_at: u64,
}

impl Claims {
    /// Returns the claim at a JSON Pointer (RFC 6901); `None` if there is none.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let pointer = pointer.strip_prefix('/')?;
        let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        self.map.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    }
}

/// The token is not valid. The texts are RIG's if it has one; none reveals any part of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, signed with another key or an algorithm that is not allowed; or no key is set.
    #[error("Invalid signature")]
    Signature,
    /// `exp` is missing or in the past.
    #[error("token expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("token not yet valid")]
    NotYetValid,
    /// `iss` is not the one required.
    #[error("wrong issuer")]
    Issuer,
    /// `aud` contains none of those required.
    #[error("wrong audience")]
    Audience,
    /// The claim is not a `NumericDate` (RFC 7519, section 2), or one beyond 64 bits.
    #[error("the claim /{0} is not a number of seconds since 1970")]
    Time(&'static str),
    /// A claim, or a member of one, is given twice (RFC 7519, section 4): a service may read the
    /// other value.
    #[error("a claim is given more than once")]
    Duplicate,
    /// The signature is valid, but the payload is not a JSON object.
    #[error("malformed claims")]
    Malformed,
}

impl Verifier {
    /// Creates a verifier. Each of the algorithms must be compatible with the `keys`.
    pub fn new(keys: Arc<dyn Keys>, config: TokenConfig) -> Self {
        Self { keys, config }
    }

    /// Returns the generation of the keys: results from earlier generations are void.
    pub fn generation(&self) -> u64 {
        self.keys.generation()
    }

    /// Returns how long a token stays valid after its `exp`.
    pub fn leeway(&self) -> Duration {
        self.config.leeway
    }

    /// Returns how long, from `now`, the token of these claims stays valid.
    pub fn valid_for(&self, claims: &Claims, now: SystemTime) -> Duration {
        // `expires_at` is in whole seconds, rounded down.
        let end = Duration::from_secs(claims.expires_at).saturating_add(Duration::from_secs(1));
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        end.saturating_add(self.config.leeway).saturating_sub(since)
    }

    /// Verifies a token and returns its claims.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let signed = self.signed(token).ok_or(TokenError::Signature)?;
        let claims = match document::from_slice(&signed) {
            Ok(Value::Object(claims)) => claims,
            Err(JsonError::Duplicate { .. }) => return Err(TokenError::Duplicate),
            Ok(_) | Err(JsonError::Syntax(_)) => return Err(TokenError::Malformed),
        };
        let expires_at = self.check(&claims)?;
        Ok(Claims { map: claims, expires_at })
    }

    /// Returns the signed payload of a token (RFC 7515, section 5.2); `None` if the signature is
    /// invalid. The library's `decode` would also parse the claims, and refuse some valid ones
    /// without a reason.
    fn signed(&self, token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let header = decode_header(token).ok()?;
        let key = self.keys.key(header.kid.as_deref())?;
        let (message, signature) = token.rsplit_once('.')?;
        let (_, payload) = message.split_once('.')?;
        if !self.config.algorithms.0.contains(&header.alg) || !is_understood(&header) {
            return None;
        }
        let is_good = crypto::verify(signature, message.as_bytes(), &key.0, header.alg);
        is_good.ok()?.then(|| URL_SAFE_NO_PAD.decode(payload).ok())?
    }

    /// Checks the registered claims (RFC 7519, section 4.1) and returns `exp`. A claim that is null
    /// counts as missing.
    fn check(&self, claims: &Map<String, Value>) -> Result<u64, TokenError> {
        let is_one = |value: &Value, of: &[String]| {
            value.as_str().is_some_and(|text| of.iter().any(|one| one == text))
        };
        let leeway = self.config.leeway.as_secs_f64();
        let expires_at = seconds(claims, "exp")?.ok_or(TokenError::Expired)?;
        if expires_at + leeway <= now() {
            return Err(TokenError::Expired);
        }
        if seconds(claims, "nbf")?.is_some_and(|from| from > now() + leeway) {
            return Err(TokenError::NotYetValid);
        }
        if let Some(issuer) = &self.config.issuer
            && claims.get("iss").is_none_or(|given| given.as_str() != Some(issuer))
        {
            return Err(TokenError::Issuer);
        }
        let is_for_us = match claims.get("aud") {
            _ if self.config.audience.is_empty() => true,
            Some(Value::Array(list)) => list.iter().any(|one| is_one(one, &self.config.audience)),
            Some(one) => is_one(one, &self.config.audience),
            None => false,
        };
        if is_for_us { Ok(expires_at as u64) } else { Err(TokenError::Audience) }
    }
}

/// Returns a claim that is a time, in seconds since 1970 (RFC 7519, section 2), with its fraction.
fn seconds(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let Some(claim) = claims.get(name).filter(|claim| !claim.is_null()) else { return Ok(None) };
    let in_range = |seconds: &f64| seconds.abs() < u64::MAX as f64;
    claim.as_f64().filter(in_range).map(Some).ok_or(TokenError::Time(name))
}

/// Returns false if the header has critical extensions: none is supported, so the token is invalid
/// (RFC 7515, section 4.1.11).
fn is_understood(header: &Header) -> bool {
    header.crit.as_ref().is_none_or(Vec::is_empty)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfiguredKey, KeyError, KeySource};
    use jsonwebtoken::{Algorithm, EncodingKey, encode};
    use serde_json::json;
    use serde_json::value::RawValue;

    const SECRET: &str = "a-test-secret-and-nothing-else";

    fn verifier(key: &str, algorithms: &str) -> Result<Verifier, KeyError> {
        let algorithms = algorithms.parse().unwrap();
        let key = ConfiguredKey::load(KeySource::parse(key).as_ref(), &algorithms)?;
        let config = TokenConfig { algorithms, issuer: None, audience: Vec::new(), leeway: Duration::ZERO };
        Ok(Verifier::new(Arc::new(key), config))
    }

    fn sign(claims: Value, secret: &str, algorithm: Algorithm) -> String {
        encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn in_an_hour() -> u64 {
        now() as u64 + 3600
    }

    #[test]
    fn a_valid_token_gives_its_claims() {
        let token = sign(json!({"sub": "alice", "exp": in_an_hour()}), SECRET, Algorithm::HS256);
        let claims = verifier(SECRET, "HS256").unwrap().verify(&token).unwrap();
        assert_eq!(claims.map["sub"], "alice");
    }

    #[test]
    fn critical_extensions_are_not_understood() {
        let mut header = Header::new(Algorithm::HS256);
        for (extensions, understood) in [(vec![], true), (vec!["b64".to_owned()], false)] {
            header.crit = Some(extensions);
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            let token = encode(&header, &json!({"exp": in_an_hour()}), &key).unwrap();
            let verdict = verifier(SECRET, "HS256").unwrap().verify(&token);
            assert_eq!(verdict.err(), (!understood).then_some(TokenError::Signature), "{:?}", header.crit);
        }
    }

    #[test]
    fn claims_are_found_by_pointer() {
        let token =
            sign(json!({"exp": in_an_hour(), "a": {"b": [1, "x"]}, "c/~d": 2}), SECRET, Algorithm::HS256);
        let claims = verifier(SECRET, "HS256").unwrap().verify(&token).unwrap();
        assert_eq!(claims.pointer("/a/b/1"), Some(&json!("x")));
        assert_eq!(claims.pointer("/c~1~0d"), Some(&json!(2)));
        for nothing in ["", "a", "/", "/a/b/2", "/exp/x"] {
            assert_eq!(claims.pointer(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn d12_without_a_key_no_token_is_valid() {
        let token = sign(json!({"exp": in_an_hour()}), "", Algorithm::HS256);
        assert_eq!(verifier("", "HS256").unwrap().verify(&token).unwrap_err(), TokenError::Signature);
    }

    #[test]
    fn d15_the_algorithm_is_pinned() {
        let token = sign(json!({"exp": in_an_hour()}), SECRET, Algorithm::HS512);
        assert_eq!(verifier(SECRET, "HS256").unwrap().verify(&token).unwrap_err(), TokenError::Signature);
        assert!(verifier(SECRET, "HS256, HS512").unwrap().verify(&token).is_ok());
        // {"alg":"none"} . {"exp":99999999999} .
        let none = "eyJhbGciOiJub25lIn0.eyJleHAiOjk5OTk5OTk5OTk5fQ.";
        assert_eq!(verifier(SECRET, "HS256").unwrap().verify(none).unwrap_err(), TokenError::Signature);
        assert!("none".parse::<Algorithms>().is_err());
    }

    #[test]
    fn d15_a_key_of_another_kind_is_an_error_at_the_start() {
        assert!(matches!(verifier(SECRET, "RS256"), Err(KeyError::Algorithm(Algorithm::RS256))));
        assert!(matches!(verifier(SECRET, "HS256,ES256"), Err(KeyError::Algorithm(Algorithm::ES256))));
        assert!(matches!(
            verifier("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "HS256"),
            Err(KeyError::Damaged(_))
        ));
        assert!(matches!(verifier("-----BEGIN PRIVATE KEY-----", "RS256"), Err(KeyError::PrivateKey)));
        assert!(matches!(verifier("/etc", "HS256"), Err(KeyError::Read { .. })));
    }

    #[test]
    fn exp_is_required_and_kept() {
        let verifier = verifier(SECRET, "HS256").unwrap();
        let error = |claims| verifier.verify(&sign(claims, SECRET, Algorithm::HS256)).unwrap_err();
        assert_eq!(error(json!({})), TokenError::Expired);
        assert_eq!(error(json!({"exp": now() as u64 - 1})), TokenError::Expired);
        assert_eq!(error(json!({"exp": now() as u64})), TokenError::Expired);
        assert_eq!(error(json!({"exp": in_an_hour(), "nbf": in_an_hour()})), TokenError::NotYetValid);
    }

    #[test]
    fn f54_the_reason_is_named_and_null_is_absent() {
        let verifier = verifier(SECRET, "HS256").unwrap();
        let result = |claims: &str| {
            let claims = RawValue::from_string(claims.replace("SOON", &in_an_hour().to_string())).unwrap();
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
            verifier.verify(&token).map(|claims| claims.expires_at)
        };
        let soon = in_an_hour();
        for (claims, expected) in [
            (r#"{"exp":null}"#, Err(TokenError::Expired)),
            (r#"{"exp":-1}"#, Err(TokenError::Expired)),
            (r#"{"exp":1.7e9}"#, Err(TokenError::Expired)),
            (r#"{"exp":"SOON"}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":99999999999999999999}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":1e300}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":18446744073709551616}"#, Err(TokenError::Time("exp"))),
            // The largest double below 2^64.
            (r#"{"exp":18446744073709549568}"#, Ok(18_446_744_073_709_549_568)),
            (r#"{"exp":[SOON]}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":true}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":{"a":1}}"#, Err(TokenError::Time("exp"))),
            (r#"{"exp":SOON.75}"#, Ok(soon)),
            (r#"{"exp":SOON.0e0}"#, Ok(soon)),
            (r#"{"exp":SOON,"nbf":null,"iat":null,"iss":null,"aud":null,"sub":null,"jti":null}"#, Ok(soon)),
            (r#"{"exp":SOON,"nbf":-1}"#, Ok(soon)),
            (r#"{"exp":SOON,"nbf":1.5}"#, Ok(soon)),
            (r#"{"exp":SOON,"nbf":"1"}"#, Err(TokenError::Time("nbf"))),
            (r#"{"exp":SOON,"nbf":99999999999999999999}"#, Err(TokenError::Time("nbf"))),
            (r#"{"exp":SOON,"nbf":{}}"#, Err(TokenError::Time("nbf"))),
            // No setting requires these.
            (r#"{"exp":SOON,"iss":{"a":1},"aud":[1,{}],"sub":["x"],"iat":"now","jti":7}"#, Ok(soon)),
            (r#"["exp"]"#, Err(TokenError::Malformed)),
            (r#"{"exp":SOON,"x":"\ud800"}"#, Err(TokenError::Malformed)),
        ] {
            assert_eq!(result(claims), expected, "{claims}");
        }
        assert_eq!(
            TokenError::Time("nbf").to_string(),
            "the claim /nbf is not a number of seconds since 1970"
        );
    }

    #[test]
    fn f06_a_claim_that_is_given_twice_makes_the_token_invalid() {
        let verifier = verifier(SECRET, "HS256").unwrap();
        let result = |claims: &str| {
            let claims = RawValue::from_string(claims.replace("SOON", &in_an_hour().to_string())).unwrap();
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            verifier.verify(&encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()).map(drop)
        };
        for claims in [
            r#"{"exp":SOON,"sub":"a","sub":"b"}"#,
            r#"{"exp":SOON,"sub":"a","s\u0075b":"a"}"#,
            r#"{"exp":1,"exp":SOON}"#,
            r#"{"exp":SOON,"realm":{"roles":[{"a":1,"a":2}]}}"#,
        ] {
            assert_eq!(result(claims), Err(TokenError::Duplicate), "{claims}");
        }
        assert_eq!(result(r#"{"exp":SOON,"sub":"a","Sub":"b","x":{"sub":"c"}}"#), Ok(()));
    }

    #[test]
    fn d15_issuer_and_audience_are_required_where_set() {
        let verifier = Verifier {
            config: TokenConfig {
                algorithms: "HS256".parse().unwrap(),
                issuer: Some("us".into()),
                audience: vec!["gateway".into()],
                leeway: Duration::ZERO,
            },
            ..verifier(SECRET, "HS256").unwrap()
        };
        let result = |claims| verifier.verify(&sign(claims, SECRET, Algorithm::HS256)).map(|_| ());
        let exp = in_an_hour();
        assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": "gateway"})), Ok(()));
        assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": ["x", "gateway"]})), Ok(()));
        assert_eq!(result(json!({"exp": exp, "iss": "them", "aud": "gateway"})), Err(TokenError::Issuer));
        assert_eq!(result(json!({"exp": exp, "aud": "gateway"})), Err(TokenError::Issuer));
        assert_eq!(result(json!({"exp": exp, "iss": "us", "aud": "x"})), Err(TokenError::Audience));
        assert_eq!(result(json!({"exp": exp, "iss": "us"})), Err(TokenError::Audience));
        for nothing in [json!(null), json!(7), json!({"a": "gateway"}), json!([]), json!(["x", null, 7])] {
            let claims = json!({"exp": exp, "iss": "us", "aud": nothing});
            assert_eq!(result(claims), Err(TokenError::Audience), "{nothing}");
            let claims = json!({"exp": exp, "iss": nothing, "aud": "gateway"});
            assert_eq!(result(claims), Err(TokenError::Issuer), "{nothing}");
        }
    }

    #[test]
    fn f58_a_byte_order_mark_is_no_part_of_the_claims() {
        let verifier = verifier(SECRET, "HS256").unwrap();
        let result = |claims: &str| {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
            let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            verifier.verify(&format!("{message}.{signature}")).map(|claims| claims.map["sub"].clone())
        };
        let claims = format!("{{\"exp\":{},\"sub\":\"\u{feff}a\"}}", in_an_hour());
        assert_eq!(result(&claims), Ok(json!("\u{feff}a")));
        assert_eq!(result(&format!("\u{feff}{claims}")), Ok(json!("\u{feff}a")));
        assert_eq!(result(&format!("\u{feff}\u{feff}{claims}")), Err(TokenError::Malformed));
        assert_eq!(result(&format!(" \u{feff}{claims}")), Err(TokenError::Malformed));
        assert_eq!(result("\u{feff}"), Err(TokenError::Malformed));
    }

    #[test]
    fn anything_else_is_an_invalid_signature() {
        let verifier = verifier(SECRET, "HS256").unwrap();
        let good = sign(json!({"exp": in_an_hour()}), SECRET, Algorithm::HS256);
        let long = "a".repeat(MAX_TOKEN + 1);
        for token in ["", ".", "..", "a.b.c", "é.é.é", &good[..good.len() - 1], &long] {
            assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Signature, "{token}");
        }
    }
}
