//! Sealed tokens: texts that contain the number of something on a node, and reveal nothing to their
//! holder.
//!
//! This crate knows keys, purposes and which node has sealed a token. It does not know what the
//! numbers stand for. A token of another node, or of an earlier life of this node, can be opened as
//! well if the nodes share a cookie: its [`Incarnation`] tells the node and the life, and the
//! caller decides whether to refuse or forward it.
//!
//! A token is 60 characters of URL-safe Base64 (RFC 4648, section 5) without padding, so it can be
//! used unchanged in a path, a query and a cookie. It holds 45 bytes: a nonce of 12, the sealed
//! node (4), life (5) and number (8), and a tag of 16.

mod incarnation;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

pub use incarnation::{Incarnation, InvalidLife};

const NONCE: usize = 12;
const NUMBER: usize = size_of::<u64>();

/// Longer texts are refused without decoding; a token has 60 characters.
const MAX_TOKEN: usize = 256;

/// What tokens are sealed for. A token of another purpose cannot be opened, even with the same
/// cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's connection.
    Connection,
    /// A request that waits for an asynchronous answer.
    Correlation,
}

/// A key (AES-256-GCM, NIST SP 800-38D) for tokens of one purpose, and the node that seals them.
pub struct Seal {
    key: RandomizedNonceKey,
    purpose: Purpose,
    node: Incarnation,
}

/// What a token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The node that sealed it, and the life of that node.
    pub node: Incarnation,
    /// The number that was sealed.
    pub number: u64,
}

/// The text is not a token of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenSeal {
    /// It is not URL-safe Base64.
    #[error("not URL-safe Base64")]
    NotBase64,
    /// It was changed, or sealed with another cookie, for another purpose or bound to other bytes.
    #[error("not sealed with this key")]
    Forged,
}

impl Seal {
    /// Creates a seal with a key that is derived from the shared cookie of the nodes (RIG:
    /// `NODE_COOKIE`), or with a random key if there is none (d13).
    pub fn new(cookie: Option<&str>, purpose: Purpose, node: Incarnation) -> Self {
        let mut secret = [0; 32];
        match cookie {
            Some(cookie) => secret.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref()),
            None => rand::fill(&mut secret).expect("the system gives random bytes"),
        }
        let mut derived = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, purpose.context())
            .extract(&secret)
            .expand(&[b"aead"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived))
            .expect("HKDF-SHA256 gives 32 bytes");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &derived).expect("the key has 32 bytes");
        Self { key, purpose, node }
    }

    /// Returns the node that seals.
    pub const fn node(&self) -> Incarnation {
        self.node
    }

    /// Returns a new token; two tokens of the same number differ.
    pub fn seal(&self, number: u64) -> String {
        self.seal_for(number, b"")
    }

    /// Returns a new token that can be opened only with these bytes, for example the origin of its
    /// page.
    pub fn seal_for(&self, number: u64, bound_to: &[u8]) -> String {
        let mut sealed = [0; Incarnation::BYTES + NUMBER];
        let (node, rest) = sealed.split_at_mut(Incarnation::BYTES);
        node.copy_from_slice(&self.node.to_bytes());
        rest.copy_from_slice(&number.to_be_bytes());
        let (nonce, tag) = self
            .key
            .seal_in_place_separate_tag(Aad::from(self.purpose.bound_to(bound_to)), &mut sealed)
            .expect("sealing 17 bytes succeeds");
        URL_SAFE.encode([&nonce.as_ref()[..], &sealed, tag.as_ref()].concat())
    }

    /// Opens a token.
    ///
    /// # Errors
    /// Fails for any text that was not sealed with the same cookie for the same purpose.
    pub fn open(&self, token: &str) -> Result<Opened, BrokenSeal> {
        self.open_for(token, b"")
    }

    /// Opens a token that is bound to these bytes.
    ///
    /// # Errors
    /// Fails for any text that was not sealed with the same cookie for the same purpose and these
    /// bytes.
    pub fn open_for(&self, token: &str, bound_to: &[u8]) -> Result<Opened, BrokenSeal> {
        if token.len() > MAX_TOKEN {
            return Err(BrokenSeal::Forged);
        }
        let mut bytes = URL_SAFE.decode(token).map_err(|_| BrokenSeal::NotBase64)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE).ok_or(BrokenSeal::Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| BrokenSeal::Forged)?;
        let aad = Aad::from(self.purpose.bound_to(bound_to));
        let plain = self.key.open_in_place(nonce, aad, sealed).map_err(|_| BrokenSeal::Forged)?;
        let (node, number) = plain.split_first_chunk().ok_or(BrokenSeal::Forged)?;
        let number = <[u8; NUMBER]>::try_from(number).map_err(|_| BrokenSeal::Forged)?;
        Ok(Opened { node: Incarnation::from_bytes(*node), number: u64::from_be_bytes(number) })
    }
}

impl Purpose {
    /// Returns the context from which the key is derived, and which is authenticated with each
    /// token.
    const fn context(self) -> &'static [u8] {
        match self {
            Self::Connection => b"rig connection token, version 2",
            Self::Correlation => b"rig correlation token, version 2",
        }
    }

    fn bound_to(self, bytes: &[u8]) -> Vec<u8> {
        [self.context(), b"\n", bytes].concat()
    }
}

/// Does not show the key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("purpose", &self.purpose)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
