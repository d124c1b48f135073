//! Positions, and the ids that name them to clients.

use std::fmt;

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, hkdf, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::lineage::Lineage;

/// Bytes of an AES block (FIPS 197), and of an id before its encoding.
const BLOCK: usize = 16;

/// One run of a node: 64 random bits. It never repeats. After a clean restart, the positions go on,
/// with another series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Series(u64);

/// The place of an event among all that a [`Lineage`] has taken, from 1 on; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventPosition(pub u64);

/// The id of a position: 22 characters of URL-safe Base64 (RFC 4648, section 5).
///
/// It is the same for all readers, so that an event is encoded once for all of them, and reveals
/// nothing: plain numbers would tell each client how many events there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId([u8; EventId::LENGTH]);

/// A key (AES-128) for ids. Nodes with the same key can read each other's ids.
#[derive(Clone)]
pub struct IdKey([u8; BLOCK]);

/// Writes the ids of a run, and reads those of all series with the same key.
pub struct Ids {
    lineage: Lineage,
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
}

/// Why a text is not the id of a position of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It was not made with this key, or was changed. One in 65,536 of such texts is taken for
    /// one of another series.
    #[error("not an id of this gateway")]
    Unknown,
    /// It is from another series: of another node, or of a run of this one that it does not
    /// continue.
    #[error("an id of another series")]
    Elsewhere(Series),
}

impl Series {
    /// Returns a new series.
    pub fn random() -> Self {
        let mut bytes = [0; size_of::<u64>()];
        rand::fill(&mut bytes).expect("the system gives random bytes");
        Self(u64::from_be_bytes(bytes))
    }

    /// Returns the 64 bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Returns the series with these 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl EventPosition {
    /// The greatest position that has an id. At a million events per second, a series reaches it
    /// after nine years; later ids are read as unknown, which is a gap and never a wrong event.
    pub const MAX: Self = Self((1 << 48) - 1);

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl EventId {
    /// Characters of an id.
    pub const LENGTH: usize = 22;

    /// Returns the id with this text, whatever it names; `None` if no id can have it.
    pub fn from_text(text: &str) -> Option<Self> {
        let is_of_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(is_of_base64).then_some(Self(bytes))
    }

    /// Returns the characters of the id, which are ASCII.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("Base64 is ASCII")
    }
}

impl IdKey {
    /// Returns the key that is derived from the shared cookie of the nodes (RIG: `NODE_COOKIE`).
    pub fn of_cookie(cookie: &str) -> Self {
        let secret = digest::digest(&digest::SHA256, cookie.as_bytes());
        let mut key = [0; BLOCK];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"rig event ids, version 1")
            .extract(secret.as_ref())
            .expand(&[b"aes"], KeyLength)
            .and_then(|okm| okm.fill(&mut key))
            .expect("HKDF-SHA256 gives 16 bytes");
        Self(key)
    }

    /// Returns a new key. To tell its own earlier series from foreign ids, a node must keep it.
    pub fn random() -> Self {
        let mut key = [0; BLOCK];
        rand::fill(&mut key).expect("the system gives random bytes");
        Self(key)
    }

    /// Returns the bytes of the key, to store it.
    pub const fn to_bytes(&self) -> [u8; BLOCK] {
        self.0
    }

    /// Returns the key with these bytes.
    pub const fn from_bytes(bytes: [u8; BLOCK]) -> Self {
        Self(bytes)
    }
}

impl Ids {
    /// Creates the ids of a run that continues others, or of a series that continues none.
    pub fn new(key: &IdKey, lineage: impl Into<Lineage>) -> Self {
        let key = || UnboundCipherKey::new(&AES_128, &key.0).expect("the key has 16 bytes");
        let encrypt = EncryptingKey::ecb(key()).expect("AES-128 encrypts single blocks");
        let decrypt = DecryptingKey::ecb(key()).expect("AES-128 decrypts single blocks");
        Self { lineage: lineage.into(), encrypt, decrypt }
    }

    /// Returns the series of the ids that are written.
    pub const fn series(&self) -> Series {
        self.lineage.present()
    }

    /// Returns the series whose ids are read.
    pub const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Returns the id of a position.
    pub fn text(&self, position: EventPosition) -> EventId {
        let mut block = (u128::from(self.series().0) << 64 | u128::from(position.0)).to_be_bytes();
        self.encrypt.encrypt(&mut block).expect("a block is a multiple of the block length");
        EventId(base64url(u128::from_be_bytes(block)))
    }

    /// Returns the position of an id, which is of this run or of one that it continues.
    ///
    /// # Errors
    /// Fails for any other text, whatever it contains. A text of another
    /// length is not looked at.
    pub fn read(&self, text: &str) -> Result<EventPosition, InvalidId> {
        if text.len() != EventId::LENGTH {
            return Err(InvalidId::Unknown);
        }
        let mut block = [0; BLOCK];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut block) {
            Ok(BLOCK) => {}
            _ => return Err(InvalidId::Unknown),
        }
        let plain = self.decrypt.decrypt(&mut block, DecryptionContext::None);
        let plain: &mut [u8] = plain.map_err(|_| InvalidId::Unknown)?;
        let plain = <[u8; BLOCK]>::try_from(&*plain).map_err(|_| InvalidId::Unknown)?;
        let [series @ .., _, _, _, _, _, _, _, _] = plain;
        let [_, _, _, _, _, _, _, _, position @ ..] = plain;
        let (series, position) =
            (Series(u64::from_be_bytes(series)), EventPosition(u64::from_be_bytes(position)));
        match position {
            position if position > EventPosition::MAX => Err(InvalidId::Unknown),
            position if self.lineage.contains(series, position) => Ok(position),
            _ => Err(InvalidId::Elsewhere(series)),
        }
    }
}

/// Encodes 16 bytes as [`URL_SAFE_NO_PAD`] does, in a third of its time: each event has an id.
fn base64url(block: u128) -> [u8; EventId::LENGTH] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u128| DIGITS[(bits & 0x3F) as usize];
    // The last character has the last two bits.
    let mut text = [digit(block << 4); EventId::LENGTH];
    for (at, character) in text.iter_mut().take(EventId::LENGTH - 1).enumerate() {
        *character = digit(block >> (122 - 6 * at));
    }
    text
}

/// The length of a key, for HKDF.
struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        BLOCK
    }
}

impl AsRef<str> for EventId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({self})")
    }
}

/// Does not show the key.
impl fmt::Debug for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdKey").finish_non_exhaustive()
    }
}

/// Does not show the key.
impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("series", &self.series()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
