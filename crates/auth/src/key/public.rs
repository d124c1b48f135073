//! Recognizes public keys in unsupported forms. Everyone knows them, so that none may serve as the
//! secret of an HMAC.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Object identifiers of the kinds of public keys, in DER: RSA, elliptic curves, Ed25519.
const KINDS: [&[u8]; 3] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x06\x03\x2b\x65\x70",
];

/// Object identifiers of P-256 and P-384, in DER.
const CURVES: [&[u8]; 2] = [b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x06\x05\x2b\x81\x04\x00\x22"];

/// Returns the form in which this is, or was meant to be, a public key. `None` if it is a secret.
pub(super) fn form(bytes: &[u8]) -> Option<&'static str> {
    let text: Vec<u8> = bytes.iter().filter(|byte| **byte != 0).map(u8::to_ascii_uppercase).collect();
    if has(&text, b"--BEGIN ") || has(&text, b"--END ") || has(&text, b"PUBLIC KEY--") {
        return Some(if document::is_utf16(bytes) || bytes.contains(&0) {
            "PEM in UTF-16"
        } else {
            "damaged PEM"
        });
    }
    if [&b"SSH-"[..], b"ECDSA-SHA2-", b"SK-SSH-"].iter().any(|kind| text.starts_with(kind)) {
        return Some("the form of SSH");
    }
    if is_jwk(bytes) {
        return Some("a JWK");
    }
    if is_key_in_der(bytes) {
        return Some("DER");
    }
    let base64: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD
        .decode(base64)
        .is_ok_and(|der| is_key_in_der(&der))
        .then_some("Base64 without its BEGIN and END lines")
}

/// Returns whether an elliptic-curve public key in PEM is of P-256 and of P-384. Both are true for
/// a certificate.
pub(super) fn curves(pem: &str) -> [bool; 2] {
    let body = pem.split("-----").nth(2).unwrap_or_default();
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).unwrap_or_default();
    CURVES.map(|curve| has(&der, curve))
}

fn is_jwk(bytes: &[u8]) -> bool {
    let document = document::from_slice(bytes).ok();
    document.is_some_and(|document| document.get("kty").is_some() || document.get("keys").is_some())
}

/// Returns whether this is a sequence that begins with its kind (`SubjectPublicKeyInfo` of RFC
/// 5280, a certificate, PKCS#8).
fn is_key_in_der(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30) && KINDS.iter().any(|kind| has(bytes, kind))
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\nq9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n-----END PUBLIC KEY-----\n";

    fn body() -> String {
        PEM.lines().filter(|line| !line.starts_with('-')).collect()
    }

    #[test]
    fn f33_a_public_key_in_another_form_is_no_secret() {
        let der = STANDARD.decode(body()).unwrap();
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let base64 = "Base64 without its BEGIN and END lines";
        for (bytes, expected) in [
            (wide(PEM), "PEM in UTF-16"),
            (wide(&format!("\u{feff}{PEM}")), "PEM in UTF-16"),
            (PEM.replacen("-----BEGIN", "----BEGIN", 1).into(), "damaged PEM"),
            (PEM.replacen("-----BEGIN PUBLIC KEY-----\n", "", 1).into(), "damaged PEM"),
            (PEM.to_lowercase().into(), "damaged PEM"),
            (der, "DER"),
            (body().into(), base64),
            (format!("{}\r\n", body().replace("MF", " MF\r\n")).into(), base64),
            (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@host".to_vec(), "the form of SSH"),
            (b" {\"kty\": \"RSA\", \"e\": \"AQAB\"}".to_vec(), "a JWK"),
            (b"{\"keys\": []}".to_vec(), "a JWK"),
        ] {
            assert_eq!(form(&bytes), Some(expected), "{}", String::from_utf8_lossy(&bytes));
        }
        let secrets: [&[u8]; 6] =
            [b"secret", b"MFkwEwYHKoZIzj0=", b"\x30\x59\x00\x01", b"{\"a\":1}", b"\xff\xfe\0a", b"BEGIN END"];
        for secret in secrets {
            assert_eq!(form(secret), None, "{}", String::from_utf8_lossy(secret));
        }
    }

    #[test]
    fn f33_the_curve_of_a_key_is_known() {
        assert_eq!(curves(PEM), [true, false]);
        assert_eq!(curves(&PEM.replace('\n', " ")), [true, false]);
    }
}
