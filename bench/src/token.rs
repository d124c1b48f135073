//! JWTs: one session for each client.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// The secret that the gateway under test is given.
pub(crate) const SECRET: &str = "a-secret-of-the-benchmark-and-of-nothing-else";

/// Seconds that a token is valid: longer than any run.
const VALID: u64 = 2 * 3600;

#[derive(Serialize)]
struct Claims {
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
    let exp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + VALID;
    let claims = Claims { sub: format!("client-{number}"), jti: session(number), exp };
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))?)
}
