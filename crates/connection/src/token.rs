//! The connection token: names one connection of one node, and says nothing to whoever holds it.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::connection::ConnectionId;

const NONCE: usize = 12;
const CONTEXT: &[u8] = b"rig connection token, version 1";

/// The key of the connection tokens (AES-256-GCM, NIST SP 800-38D), and the life of the node they are valid in.
pub struct TokenKey {
    key: RandomizedNonceKey,
    /// Numbers of connections repeat after a restart; this does not.
    life: [u8; 8],
}

/// The token was not made by this node in this life, or is not a token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid connection token.")]
pub struct InvalidToken;

impl TokenKey {
    /// A key from the cookie the nodes share (RIG: `NODE_COOKIE`), or a random one where there is none (d13).
    pub fn new(cookie: Option<&str>) -> Self {
        let mut secret = [0; 32];
        match cookie {
            Some(cookie) => secret.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref()),
            None => rand::fill(&mut secret).expect("the system gives random bytes"),
        }
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT);
        let mut derived = [0; 32];
        key.extract(&secret)
            .expand(&[b"aead"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("HKDF-SHA256 gives 32 bytes");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &derived).expect("the key has 32 bytes");
        let mut life = [0; 8];
        rand::fill(&mut life).expect("the system gives random bytes");
        Self { key, life }
    }

    /// A fresh token; two tokens of one connection differ.
    pub fn seal(&self, id: ConnectionId) -> String {
        self.seal_for(id, b"")
    }

    /// A fresh token that is good only together with these bytes, such as the origin of the page that it is for.
    pub fn seal_for(&self, id: ConnectionId, bound_to: &[u8]) -> String {
        let mut sealed = [self.life, id.to_bytes()].concat();
        let (nonce, tag) = self
            .key
            .seal_in_place_separate_tag(Aad::from(context(bound_to)), &mut sealed)
            .expect("sealing 16 bytes succeeds");
        URL_SAFE.encode([&nonce.as_ref()[..], &sealed, tag.as_ref()].concat())
    }

    /// The connection that the token names.
    ///
    /// # Errors
    /// Fails for anything but a token that this node has sealed since it started.
    pub fn open(&self, token: &str) -> Result<ConnectionId, InvalidToken> {
        self.open_for(token, b"")
    }

    /// The connection that the token names, if it was sealed for the same bytes.
    ///
    /// # Errors
    /// Fails for anything but a token that this node has sealed for them since it started.
    pub fn open_for(&self, token: &str, bound_to: &[u8]) -> Result<ConnectionId, InvalidToken> {
        // Far above the length of a token; nothing larger is worth decoding.
        if token.len() > 256 {
            return Err(InvalidToken);
        }
        let mut bytes = URL_SAFE.decode(token).map_err(|_| InvalidToken)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE).ok_or(InvalidToken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| InvalidToken)?;
        let aad = Aad::from(context(bound_to));
        let plain = self.key.open_in_place(nonce, aad, sealed).map_err(|_| InvalidToken)?;
        let id = plain.strip_prefix(&self.life).ok_or(InvalidToken)?;
        Ok(ConnectionId::from_bytes(id.try_into().map_err(|_| InvalidToken)?))
    }
}

/// What a token is authenticated with beside its own content.
fn context(bound_to: &[u8]) -> Cow<'static, [u8]> {
    if bound_to.is_empty() { CONTEXT.into() } else { [CONTEXT, b"\n", bound_to].concat().into() }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);

    #[test]
    fn a_token_names_its_connection_and_no_other_says_so() {
        let key = TokenKey::new(None);
        let token = key.seal(ID);
        assert_ne!(token, key.seal(ID));
        assert_eq!(key.open(&token), Ok(ID));
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(key.open(&String::from_utf8(forged).unwrap()), Err(InvalidToken), "byte {at}");
        }
    }

    #[test]
    fn f53_a_token_for_one_page_is_none_for_another() {
        let key = TokenKey::new(None);
        let token = key.seal_for(ID, b"http://a");
        assert_eq!(key.open_for(&token, b"http://a"), Ok(ID));
        assert_eq!(key.open_for(&token, b"http://b"), Err(InvalidToken));
        assert_eq!(key.open(&token), Err(InvalidToken));
        assert_eq!(key.open_for(&key.seal(ID), b"http://a"), Err(InvalidToken));
    }

    #[test]
    fn d13_without_a_cookie_the_key_is_random() {
        let opened = |cookie| {
            let ours = TokenKey::new(cookie);
            // The life alone would keep them apart: it must not be what does.
            let theirs = TokenKey { life: ours.life, ..TokenKey::new(cookie) };
            theirs.open(&ours.seal(ID))
        };
        assert_eq!(opened(None), Err(InvalidToken));
        assert_eq!(opened(Some("cookie")), Ok(ID));
    }

    #[test]
    fn a_token_of_an_earlier_life_is_none() {
        let token = TokenKey::new(Some("cookie")).seal(ID);
        assert_eq!(TokenKey::new(Some("cookie")).open(&token), Err(InvalidToken));
    }

    #[test]
    fn d23_short_and_broken_tokens_are_refused() {
        let key = TokenKey::new(None);
        for token in ["", "abc", "eHh4eHh4", "%%", "é", &"A".repeat(4096), &key.seal(ID)[..59]] {
            assert_eq!(key.open(token), Err(InvalidToken), "{token}");
        }
    }
}
