//! The keys that the nodes of a cluster share.
//!
//! All are derived from `NODE_COOKIE` by HKDF-SHA256 (RFC 5869). Messages are authenticated by
//! HMAC-SHA256 (RFC 2104), so that access to NATS alone is not enough to forge a lift; events, of
//! which there are many, by GMAC (NIST SP 800-38D), which takes less time. What names people is
//! sealed with AES-256-GCM (same).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, RandomizedNonceKey, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, hmac};
use seal::Incarnation;

/// Length of a message authentication code.
pub(crate) const MAC: usize = 32;

/// Length of the authentication code of an event.
pub(crate) const EVENT_MAC: usize = 16;

const NONCE: usize = 12;

/// The keys of the current cookie, and of an older one while the cookie is being replaced.
pub struct Keys {
    current: KeyPair,
    older: Option<KeyPair>,
}

struct KeyPair {
    mac: hmac::Key,
    seal: RandomizedNonceKey,
    /// The keys of events are derived from it.
    events: hkdf::Prk,
}

/// Authenticates the events of one life of a node.
///
/// With one key, two different events must never have the same number: GMAC would reveal the key.
pub(crate) struct EventKey(LessSafeKey);

/// The bytes were not sealed with a key of this cluster, or for another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sealed by a node of this cluster")]
pub(crate) struct NotSealed;

impl Keys {
    /// Derives the keys from the cookie, and from the one that was used before it.
    pub fn new(cookie: &str, older: Option<&str>) -> Self {
        Self { current: KeyPair::new(cookie), older: older.map(KeyPair::new) }
    }

    /// Returns whether an older cookie is accepted.
    pub(crate) fn has_older(&self) -> bool {
        self.older.is_some()
    }

    /// Returns the code of a message in its context.
    pub(crate) fn mac(&self, context: &[&[u8]], message: &[u8]) -> [u8; MAC] {
        self.current.mac(context, message)
    }

    /// Returns whether the code is that of the message, with either key.
    pub(crate) fn verify(&self, context: &[&[u8]], message: &[u8], code: &[u8]) -> bool {
        self.pairs().any(|pair| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&pair.mac(context, message), code).is_ok()
        })
    }

    /// Returns the key of the events that a life of this node sends.
    pub(crate) fn event_key(&self, cluster: &str, life: Incarnation) -> EventKey {
        self.current.event_key(cluster, life)
    }

    /// Returns the keys with which a life of another node may send events, one for each cookie.
    pub(crate) fn event_keys(&self, cluster: &str, life: Incarnation) -> impl Iterator<Item = EventKey> {
        self.pairs().map(move |pair| pair.event_key(cluster, life))
    }

    /// Seals bytes for a purpose.
    pub(crate) fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        let nonce = self.current.seal.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed);
        let nonce = nonce.expect("sealing succeeds");
        [&nonce.as_ref()[..], &sealed].concat()
    }

    /// Opens what was sealed for this purpose, with either key.
    pub(crate) fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, NotSealed> {
        self.pairs().find_map(|pair| pair.open(purpose, sealed)).ok_or(NotSealed)
    }

    /// Returns whether the key of the current cookie opens what was sealed for this purpose.
    pub(crate) fn is_current(&self, purpose: &str, sealed: &[u8]) -> bool {
        self.current.open(purpose, sealed).is_some()
    }

    fn pairs(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

impl KeyPair {
    fn new(cookie: &str) -> Self {
        let secret = digest(&SHA256, cookie.as_bytes());
        let all = hkdf::Salt::new(hkdf::HKDF_SHA256, b"rig cluster, version 1").extract(secret.as_ref());
        let seal = RandomizedNonceKey::new(&AES_256_GCM, &derived(&all, &[b"seal"]));
        Self {
            mac: hmac::Key::new(hmac::HMAC_SHA256, &derived(&all, &[b"authenticate"])),
            seal: seal.expect("the key has 32 bytes"),
            events: all,
        }
    }

    fn event_key(&self, cluster: &str, life: Incarnation) -> EventKey {
        // Unambiguous: a life always has the same length.
        let key = derived(&self.events, &[b"event", &life.to_bytes(), cluster.as_bytes()]);
        EventKey(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes")))
    }

    fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let (nonce, mut bytes) = (Nonce::from(nonce), sealed.to_vec());
        let plain = self.seal.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut bytes).ok()?;
        Some(plain.to_vec())
    }

    /// The parts of the context are prefixed with their lengths, so that no two contexts read the
    /// same.
    fn mac(&self, context: &[&[u8]], message: &[u8]) -> [u8; MAC] {
        let mut code = hmac::Context::with_key(&self.mac);
        for part in context {
            code.update(&(part.len() as u32).to_be_bytes());
            code.update(part);
        }
        code.update(message);
        code.sign().as_ref().try_into().expect("HMAC-SHA256 gives 32 bytes")
    }
}

fn derived(from: &hkdf::Prk, info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    let filled = from.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
    filled.expect("HKDF-SHA256 gives 32 bytes");
    key
}

impl EventKey {
    /// Returns the code of an event in a bucket, with its number.
    pub(crate) fn mac(&self, bucket: u16, number: u64, message: &[u8]) -> [u8; EVENT_MAC] {
        // Only authenticated, nothing is encrypted: that is GMAC.
        let nonce = Self::nonce(bucket, number);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(message), &mut []);
        tag.expect("sealing succeeds").as_ref().try_into().expect("a tag of GCM has 16 bytes")
    }

    /// Returns whether the code is that of the event.
    pub(crate) fn verify(&self, bucket: u16, number: u64, message: &[u8], code: [u8; EVENT_MAC]) -> bool {
        let (nonce, mut code) = (Self::nonce(bucket, number), code);
        self.0.open_in_place(nonce, Aad::from(message), &mut code).is_ok()
    }

    fn nonce(bucket: u16, number: u64) -> Nonce {
        let mut nonce = [0; NONCE];
        nonce[..2].copy_from_slice(&bucket.to_be_bytes());
        nonce[NONCE - 8..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Does not show the keys.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_the_same_purpose_only() {
        let keys = Keys::new("cookie", None);
        let sealed = keys.seal("a", b"secret");
        assert_eq!(keys.open("a", &sealed).as_deref(), Ok(&b"secret"[..]));
        assert_eq!(keys.open("b", &sealed), Err(NotSealed));
        assert_eq!(keys.open("a", &sealed[..11]), Err(NotSealed));
        assert_eq!(Keys::new("other", None).open("a", &sealed), Err(NotSealed));
    }

    #[test]
    fn a_code_is_bound_to_its_context_and_message() {
        let keys = Keys::new("cookie", None);
        let code = keys.mac(&[b"ab", b"c"], b"message");
        assert!(keys.verify(&[b"ab", b"c"], b"message", &code));
        assert!(!keys.verify(&[b"a", b"bc"], b"message", &code), "the parts are delimited");
        assert!(!keys.verify(&[b"ab", b"c"], b"massage", &code));
        assert!(!keys.verify(&[b"ab", b"c"], b"message", &code[..31]));
    }

    #[test]
    fn the_code_of_an_event_is_bound_to_cookie_cluster_life_bucket_and_number() {
        let (keys, life) = (Keys::new("cookie", None), Incarnation::unnamed());
        let key = keys.event_key("c", life);
        let code = key.mac(1, 2, b"event");
        assert!(keys.event_key("c", life).verify(1, 2, b"event", code));
        assert!(!key.verify(2, 1, b"event", code) && !key.verify(1, 3, b"event", code));
        assert!(!key.verify(1, 2, b"evens", code));
        assert!(!keys.event_key("d", life).verify(1, 2, b"event", code));
        assert!(!keys.event_key("c", Incarnation::unnamed()).verify(1, 2, b"event", code));
        assert!(!Keys::new("other", None).event_key("c", life).verify(1, 2, b"event", code));
        let both = Keys::new("new", Some("cookie"));
        let accepted = both.event_keys("c", life).map(|key| key.verify(1, 2, b"event", code));
        assert_eq!(accepted.collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn an_older_cookie_is_accepted_and_not_used() {
        let (before, both) = (Keys::new("old", None), Keys::new("new", Some("old")));
        assert!(both.verify(&[], b"m", &before.mac(&[], b"m")));
        assert_eq!(both.open("p", &before.seal("p", b"x")).as_deref(), Ok(&b"x"[..]));
        assert!(!before.verify(&[], b"m", &both.mac(&[], b"m")));
        assert!(
            both.is_current("p", &both.seal("p", b"x")) && !both.is_current("p", &before.seal("p", b"x"))
        );
    }
}
