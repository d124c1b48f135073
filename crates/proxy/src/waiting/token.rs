//! The correlation token: names one waiting request of one node, and says nothing to whoever holds it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use super::DeliverError;

const NONCE: usize = 12;

/// Unlike that of any other token, so that neither is ever taken for the other.
const CONTEXT: &[u8] = b"rig correlation token, version 1";

/// The key of the correlation tokens (AES-256-GCM, NIST SP 800-38D), and the life of the node they are valid in.
pub struct CorrelationKey {
    key: RandomizedNonceKey,
    /// Numbers of requests repeat after a restart; this does not. With nine bytes of it a token is 45 bytes long, and
    /// its Base64 needs no padding: it stands in a query as it is.
    life: [u8; 9],
}

impl CorrelationKey {
    /// A key from the cookie that the nodes share (RIG: `NODE_COOKIE`), or a random one where there is none (d13).
    pub fn new(cookie: Option<&str>) -> Self {
        let mut secret = [0; 32];
        match cookie {
            Some(cookie) => secret.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref()),
            None => rand::fill(&mut secret).expect("the system gives random bytes"),
        }
        let mut derived = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT)
            .extract(&secret)
            .expand(&[b"aead"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("HKDF-SHA256 gives 32 bytes");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &derived).expect("the key has 32 bytes");
        let mut life = [0; 9];
        rand::fill(&mut life).expect("the system gives random bytes");
        Self { key, life }
    }

    /// The token of the request with this number.
    pub(super) fn seal(&self, number: u64) -> String {
        let mut sealed = self.life.to_vec();
        sealed.extend_from_slice(&number.to_be_bytes());
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(CONTEXT), &mut sealed)
            .expect("sealing 17 bytes succeeds");
        let mut token = nonce.as_ref().to_vec();
        token.append(&mut sealed);
        URL_SAFE.encode(token)
    }

    /// The number of the request that the token names.
    ///
    /// # Errors
    /// It is not Base64, or not sealed with this key; or it is of another life, in which nobody waits any more.
    pub(super) fn open(&self, token: &str) -> Result<u64, DeliverError> {
        // Far above the length of a token; nothing larger is worth decoding.
        if token.len() > 256 {
            return Err(DeliverError::Invalid);
        }
        let mut bytes = URL_SAFE.decode(token).map_err(|_| DeliverError::NotBase64)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE).ok_or(DeliverError::Invalid)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DeliverError::Invalid)?;
        let plain =
            self.key.open_in_place(nonce, Aad::from(CONTEXT), sealed).map_err(|_| DeliverError::Invalid)?;
        let number = plain.strip_prefix(&self.life).ok_or(DeliverError::Gone)?;
        Ok(u64::from_be_bytes(number.try_into().map_err(|_| DeliverError::Invalid)?))
    }
}

impl fmt::Debug for CorrelationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CorrelationKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_request_and_no_other_says_so() {
        let key = CorrelationKey::new(None);
        let token = key.seal(7);
        assert_ne!(token, key.seal(7));
        assert_eq!(key.open(&token), Ok(7));
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let opened = key.open(&String::from_utf8(forged).unwrap());
            assert_eq!(opened, Err(DeliverError::Invalid), "byte {at}");
        }
    }

    #[test]
    fn a_token_stands_in_a_query_as_it_is() {
        let key = CorrelationKey::new(None);
        for number in 0..200 {
            let token = key.seal(number);
            assert_eq!(token.len(), 60);
            let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(token.bytes().all(unreserved), "{token}");
        }
    }

    #[test]
    fn d13_without_a_cookie_the_key_is_random() {
        let opened = |cookie| {
            let ours = CorrelationKey::new(cookie);
            // The life alone would keep them apart: it must not be what does.
            let theirs = CorrelationKey { life: ours.life, ..CorrelationKey::new(cookie) };
            theirs.open(&ours.seal(7))
        };
        assert_eq!(opened(None), Err(DeliverError::Invalid));
        assert_eq!(opened(Some("cookie")), Ok(7));
    }

    #[test]
    fn in_another_life_nobody_waits_for_it() {
        let token = CorrelationKey::new(Some("cookie")).seal(7);
        assert_eq!(CorrelationKey::new(Some("cookie")).open(&token), Err(DeliverError::Gone));
    }

    #[test]
    fn what_is_no_token_is_told_as_rig_does() {
        let key = CorrelationKey::new(None);
        for token in ["abc", "x", "%%", "é", &key.seal(7)[..59], "a+b/"] {
            assert_eq!(key.open(token), Err(DeliverError::NotBase64), "{token}");
        }
        for token in ["", "eHh4", &"eHh4".repeat(20), &"A".repeat(4096), &key.seal(7)[..56]] {
            assert_eq!(key.open(token), Err(DeliverError::Invalid), "{token}");
        }
    }
}
