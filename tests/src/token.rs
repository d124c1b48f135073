//! Tokens for tests. Their keys must not be used for anything else.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The `JWT_SECRET_KEY` of most tests.
pub const KEY: &str = "a-test-secret-of-thirty-two-bytes";

/// Returns the time this many seconds from now, as tokens count it.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    now as i64 + seconds
}

/// Returns the claims of a user, valid for an hour.
pub fn claims(session: &str, username: &str) -> Value {
    json!({ "jti": session, "username": username, "exp": in_seconds(3600) })
}

/// Returns a token of this session, valid for an hour and signed with [`KEY`].
pub fn token_of(session: &str) -> String {
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key that is not empty");
    signed(&claims(session, "bob"), Algorithm::HS256, &key)
}

/// Returns a token with these claims.
///
/// # Panics
/// Panics if the key does not fit the algorithm.
pub fn signed(claims: &Value, algorithm: Algorithm, key: &EncodingKey) -> String {
    encode(&Header::new(algorithm), claims, key).expect("the key fits the algorithm")
}
