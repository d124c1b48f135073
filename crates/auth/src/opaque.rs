//! Recognizes tokens that only their issuer can read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Returns whether only the service that issued this token can read it: it contains no signed token
/// (RFC 7515) anywhere.
///
/// A service may be more lenient than the gateway. A revoked token with something around it, such
/// as a space, a second `Bearer` or an encoded character, must not pass as one that the gateway
/// cannot read.
pub fn is_opaque(token: &str) -> bool {
    let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
    let is_of_base64url = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    is_visible && !token.split(|c| !is_of_base64url(c)).any(is_header_of_jws)
}

/// An encrypted token (RFC 7516) has such a header too, but the gateway cannot read its content.
fn is_header_of_jws(part: &str) -> bool {
    let Ok(json) = URL_SAFE_NO_PAD.decode(part) else { return false };
    let header = serde_json::from_slice::<Map<String, Value>>(&json);
    header.is_ok_and(|header| header.contains_key("alg") && !header.contains_key("enc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f52_a_signed_token_is_not_opaque_however_it_is_wrapped() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let jws = format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(r#"{"jti":"s"}"#));
        let wrapped = ["", " ", "Bearer ", "Bearer:", "x,", "x.", "\"", "(", "|", "\u{e9}", "%20", "="];
        for around in wrapped {
            for token in [format!("{around}{jws}"), format!("{jws}{around}")] {
                assert!(!is_opaque(&token), "{token}");
            }
        }
        for bad in ["a b", "\u{e9}", "%61", "a\tb", &header] {
            assert!(!is_opaque(bad), "{bad}");
        }
    }

    #[test]
    fn f52_what_the_gateway_cannot_read_is_opaque() {
        let encrypted = URL_SAFE_NO_PAD.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
        let session = URL_SAFE_NO_PAD.encode(r#"{"user":1}"#);
        for token in [
            "2YotnFZFEjr1zCsicMWpAA",
            "gho_16C7e42F292c6912E7710c838347Ae178B4a",
            "1|laravel",
            "a.b.c",
            "e30.e30.e30",
            "v4.public.eyJzdWIiOiJhIn0",
            "dXNlcjpwYXNz==",
            "a+b/c~d:e!",
            &format!("{encrypted}.a.b.c.d"),
            &format!("{session}.Zx1.sig"),
        ] {
            assert!(is_opaque(token), "{token}");
        }
    }
}
