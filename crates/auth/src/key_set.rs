//! The public keys of an issuer (JWK Set: RFC 7517, section 5), without I/O.

use jsonwebtoken::Algorithm;
use serde_json::Value;

mod public_key;
#[cfg(test)]
mod tests;

pub use public_key::{KeyFlaw, PublicKey};

/// Limit of the keys in a set. A larger set is refused as a whole.
const MAX_KEYS: usize = 256;

/// Limit of what an error shows of a document, in characters.
const SHOWN: usize = 200;

/// Limit of the keys that one token is tried with.
const MAX_CHOICES: usize = 8;

/// The usable keys of an issuer. Two sets are equal if they have the same keys, in any order.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
    skipped: Vec<SkippedKey>,
}

/// A key of a set that is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys[{index}]: {flaw}")]
pub struct SkippedKey {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Why it is not used.
    pub flaw: KeyFlaw,
}

/// A document that is not a set of keys. The text never contains a value of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or a member is given twice.
    #[error("{0}")]
    Json(String),
    /// Not an object with a list in `keys`.
    #[error("expected an object with a list in the member keys")]
    NoSet,
    /// More keys than are read.
    #[error("{0} keys; at most {MAX_KEYS} are read")]
    TooMany(usize),
    /// None of the keys can be used.
    #[error("no usable key{}", .0.map(|first| format!(", {first}")).unwrap_or_default())]
    NoKey(Option<SkippedKey>),
}

impl KeySet {
    /// Parses a set. Keys that cannot be used are skipped: an issuer may publish new kinds of keys
    /// at any time.
    ///
    /// # Errors
    /// Fails if the document is not a set, or none of its keys can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        // The path to a doubled member is as long as its names, which are foreign.
        let cut = |text: String| text.chars().take(SHOWN).collect();
        let set = document::from_slice(json).map_err(|error| KeySetError::Json(cut(error.to_string())))?;
        let Some(Value::Array(list)) = set.get("keys") else { return Err(KeySetError::NoSet) };
        if list.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(list.len()));
        }
        let mut parsed = Self::default();
        for (index, key) in list.iter().enumerate() {
            match PublicKey::parse(key) {
                Ok(key) => parsed.keys.push(key),
                Err(flaw) => parsed.skipped.push(SkippedKey { index, flaw }),
            }
        }
        if parsed.keys.is_empty() {
            return Err(KeySetError::NoKey(parsed.skipped.first().copied()));
        }
        Ok(parsed)
    }

    /// Returns the usable keys, in the order of the set.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Returns the keys that are not used, in the order of the set.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Returns the number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns `true` if no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the thumbprints of the usable keys.
    pub fn thumbprints(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(PublicKey::thumbprint)
    }

    /// Returns `true` if a usable key has this `kid`.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// Returns the keys that a token may be signed with whose header names this `kid` and this
    /// algorithm (RFC 7517, sections 4.4 and 4.5; RFC 8725, section 3.1). A token without `kid` is
    /// tried with each key that fits its algorithm. At most eight are returned.
    pub(crate) fn choose(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &PublicKey> {
        let is_meant =
            move |key: &&PublicKey| kid.is_none_or(|kid| key.kid() == Some(kid)) && key.may_verify(algorithm);
        self.keys.iter().filter(is_meant).take(MAX_CHOICES)
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let contains = |set: &Self, keys: &Self| keys.keys.iter().all(|key| set.keys.contains(key));
        self.len() == other.len() && contains(self, other) && contains(other, self)
    }
}
