//! One public key of an issuer (JWK: RFC 7517, section 4).

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::keys::TokenKey;

/// The sizes of an RSA modulus, in bits. Larger ones cost too much for each token.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Limit of the length of an RSA exponent, in bytes. The library verifies with at most 33 bits.
const MAX_EXPONENT: usize = 4;

/// A public key of an issuer. Its material is never shown.
#[derive(Clone)]
pub struct PublicKey {
    kid: Option<Arc<str>>,
    /// The only algorithm that the issuer allows for it (RFC 7517, section 4.4).
    algorithm: Option<Algorithm>,
    kind: Kind,
    thumbprint: Arc<str>,
    key: TokenKey,
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFlaw {
    /// Not an object.
    #[error("not an object")]
    NoObject,
    /// `kid` is not a string.
    #[error("kid is not a string")]
    Id,
    /// `kty` or `crv` is unknown, or not for signatures.
    #[error("an unsupported kty or crv")]
    Kind,
    /// A symmetric key: everyone who reads the set knows it.
    #[error("kty oct, a secret that is public")]
    Secret,
    /// A private key: everyone who reads the set can sign with it.
    #[error("a private key that is public")]
    Private,
    /// `use` or `key_ops` says that it is for something else (RFC 7517, sections 4.2, 4.3).
    #[error("not for signatures (use, key_ops)")]
    Use,
    /// `alg` is not a supported algorithm of this kind of key.
    #[error("alg does not fit the key, or is unsupported")]
    Algorithm,
    /// An RSA key of fewer or more bits than are allowed.
    #[error("an RSA key of less than {} or more than {} bits", RSA_BITS.start(), RSA_BITS.end())]
    Size,
    /// A member is missing, or does not have the form of RFC 7518, section 6.
    #[error("a member is missing or malformed")]
    Malformed,
}

/// What a key is, as far as algorithms depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// Returns `true` if the algorithm uses this kind of key. A secret is none of them.
    fn fits(self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256 => algorithm == ES256,
            Self::P384 => algorithm == ES384,
            Self::Ed25519 => algorithm == EdDSA,
        }
    }
}

impl PublicKey {
    /// Parses a key. A member that is null counts as missing. `x5c` and `x5u` are not used.
    pub(super) fn parse(jwk: &Value) -> Result<Self, KeyFlaw> {
        let jwk = Jwk(jwk.as_object().ok_or(KeyFlaw::NoObject)?);
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str().into()),
            Some(_) => return Err(KeyFlaw::Id),
        };
        if jwk.text("kty") == Some("oct") {
            return Err(KeyFlaw::Secret);
        }
        if jwk.get("d").is_some() {
            return Err(KeyFlaw::Private);
        }
        let verifies = |operations: &Value| {
            operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
        };
        if jwk.get("use").is_some_and(|purpose| purpose != "sig")
            || jwk.get("key_ops").is_some_and(|operations| !verifies(operations))
        {
            return Err(KeyFlaw::Use);
        }
        let (kind, key, thumbprint) = jwk.material()?;
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => {
                let named = name.as_str().and_then(|name| name.parse().ok());
                Some(named.filter(|named| kind.fits(*named)).ok_or(KeyFlaw::Algorithm)?)
            }
        };
        Ok(Self { kid, algorithm, kind, thumbprint: thumbprint.into(), key: TokenKey(key) })
    }

    /// Returns the name that the issuer gives to the key.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns what identifies the key, whatever its name: the SHA-256 of its members in base64url
    /// (RFC 7638).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns `true` if the algorithm uses this kind of key, and the issuer allows it for this
    /// key.
    pub(super) fn may_verify(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    pub(crate) fn key(&self) -> &TokenKey {
        &self.key
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithm == other.algorithm && self.thumbprint == other.thumbprint
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).field("thumbprint", &self.thumbprint).finish()
    }
}

/// The members of a key.
struct Jwk<'k>(&'k Map<String, Value>);

impl<'k> Jwk<'k> {
    fn get(&self, name: &str) -> Option<&'k Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Option<&'k str> {
        self.get(name)?.as_str()
    }

    /// Returns the bytes of a member.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, KeyFlaw> {
        let text = self.text(name).ok_or(KeyFlaw::Malformed)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFlaw::Malformed)
    }

    /// Returns the kind of the key, the key and its thumbprint (RFC 7518, section 6; RFC 8037,
    /// section 2).
    fn material(&self) -> Result<(Kind, DecodingKey, String), KeyFlaw> {
        match (self.text("kty"), self.text("crv")) {
            (Some("RSA"), _) => self.rsa(),
            (Some("EC"), Some("P-256")) => self.point(Kind::P256, &ECDSA_P256_SHA256_FIXED, 32),
            (Some("EC"), Some("P-384")) => self.point(Kind::P384, &ECDSA_P384_SHA384_FIXED, 48),
            (Some("OKP"), Some("Ed25519")) => {
                let x = self.text("x").ok_or(KeyFlaw::Malformed)?;
                if self.bytes("x")?.len() != 32 {
                    return Err(KeyFlaw::Malformed);
                }
                let key = DecodingKey::from_ed_components(x).map_err(|_| KeyFlaw::Malformed)?;
                Ok((Kind::Ed25519, key, thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))))
            }
            (Some("EC" | "OKP"), None) => Err(KeyFlaw::Malformed),
            _ => Err(KeyFlaw::Kind),
        }
    }

    fn rsa(&self) -> Result<(Kind, DecodingKey, String), KeyFlaw> {
        let (n, e) = (self.positive("n")?, self.positive("e")?);
        let bits = n.len() * 8 - n[0].leading_zeros() as usize;
        if !RSA_BITS.contains(&bits) {
            return Err(KeyFlaw::Size);
        }
        // The library refuses these only when it verifies.
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !is_odd(&n) || !is_odd(&e) || e == [1] || e.len() > MAX_EXPONENT {
            return Err(KeyFlaw::Malformed);
        }
        let key = DecodingKey::from_rsa_raw_components(&n, &e);
        let (n, e) = (URL_SAFE_NO_PAD.encode(&n), URL_SAFE_NO_PAD.encode(&e));
        Ok((Kind::Rsa, key, thumbprint(&format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#))))
    }

    /// Returns a key that is a point of a curve, both coordinates of this length in bytes.
    fn point(
        &self,
        kind: Kind,
        curve: &'static dyn VerificationAlgorithm,
        length: usize,
    ) -> Result<(Kind, DecodingKey, String), KeyFlaw> {
        let (x, y) = (self.bytes("x")?, self.bytes("y")?);
        if x.len() != length || y.len() != length {
            return Err(KeyFlaw::Malformed);
        }
        // Uncompressed (SEC 1, section 2.3.3). Not every pair of numbers is a point of the curve.
        let point = [&[4], &x[..], &y].concat();
        ParsedPublicKey::new(curve, &point).map_err(|_| KeyFlaw::Malformed)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(&x), URL_SAFE_NO_PAD.encode(&y));
        let key = DecodingKey::from_ec_components(&x, &y).map_err(|_| KeyFlaw::Malformed)?;
        let name = if kind == Kind::P256 { "P-256" } else { "P-384" };
        Ok((kind, key, thumbprint(&format!(r#"{{"crv":"{name}","kty":"EC","x":"{x}","y":"{y}"}}"#))))
    }

    /// Returns a positive number, without the leading zeros that some issuers write.
    fn positive(&self, name: &str) -> Result<Vec<u8>, KeyFlaw> {
        let mut bytes = self.bytes(name)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeros);
        if bytes.is_empty() { Err(KeyFlaw::Malformed) } else { Ok(bytes) }
    }
}

/// Returns the thumbprint of the required members, in their order, without white space (RFC 7638,
/// section 3).
fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
}
