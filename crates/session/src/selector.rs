//! What a revocation selects, and the fingerprint under which it is stored.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::name::SessionName;

/// Selects tokens, and with them connections: by their session, or by the value of another claim.
///
/// `Debug` does not show the value, so that the value of a claim does not get into a log by
/// accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// All tokens of a session.
    Session(SessionName),
    /// All tokens with this value of a claim.
    Claim {
        /// The JSON Pointer of the claim, one of
        /// [`Config::revocation_claims`](crate::Config::revocation_claims).
        claim: Arc<str>,
        /// The claim's value; for an integer, its decimal digits.
        value: SessionName,
    },
}

impl Selector {
    /// Returns the name of the session, or the claim's value.
    pub fn value(&self) -> &SessionName {
        match self {
            Self::Session(value) | Self::Claim { value, .. } => value,
        }
    }

    /// Returns the JSON Pointer of the claim; `None` for a session.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::Session(_) => None,
            Self::Claim { claim, .. } => Some(claim),
        }
    }
}

impl From<SessionName> for Selector {
    fn from(name: SessionName) -> Self {
        Self::Session(name)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector").field("claim", &self.claim()).finish_non_exhaustive()
    }
}

/// Identifies a claim and its value: 126 bits of a keyed hash (SipHash-1-3). No client knows the
/// key, which is new in every process. One of the two other bits is always set, so that an `Option`
/// of it is no larger; the other is [`SESSION`].
///
/// Two values with the same fingerprint would share their revocations. Among ten million entries,
/// the probability that a given token collides with one of another token is 10⁷ · 2⁻¹²⁶, below
/// 10⁻³⁰. A collision cannot be constructed without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    high: NonZeroU64,
    low: u64,
}

/// The bit of `high` that tells sessions from other claims.
const SESSION: u64 = 0b10;

/// The number of low bits of `high` that are not part of the hash.
const MARKS: u32 = 2;

/// Makes fingerprints, all with one key.
pub(crate) struct Fingerprints(SipHasher13);

impl Fingerprints {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self(SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)))
    }

    pub(crate) fn of_session(&self, name: &SessionName) -> Key {
        Key(self.of("", name.as_str(), SESSION))
    }

    pub(crate) fn of_claim(&self, claim: &str, value: &str) -> Key {
        Key(self.of(claim, value, 0))
    }

    /// Returns the key of a token that no revocation can select. It is needed so that the token can
    /// expire.
    pub(crate) fn of_unselectable(&self, number: u64) -> Key {
        Key(self.of("\0", &number.to_string(), 0))
    }

    pub(crate) fn of_selector(&self, selector: &Selector) -> Key {
        match selector {
            Selector::Session(name) => self.of_session(name),
            Selector::Claim { claim, value } => self.of_claim(claim, value.as_str()),
        }
    }

    /// The byte 0xff never occurs in UTF-8, so it separates the claim from the value unambiguously.
    fn of(&self, claim: &str, value: &str, mark: u64) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(claim.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        let (high, low) = hasher.finish128().as_u64();
        Fingerprint { high: NonZeroU64::MIN | (high >> MARKS << MARKS) | mark, low }
    }
}

/// The key under which the registrations and revocations of a selector are found. It tells sessions
/// from other claims, so that they can be counted separately.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(Fingerprint);

impl Key {
    pub(crate) fn fingerprint(self) -> Fingerprint {
        self.0
    }

    pub(crate) fn is_session(self) -> bool {
        self.0.high.get() & SESSION != 0
    }
}

impl Fingerprint {
    /// Returns a fingerprint with these bits, which belongs to no claim.
    #[cfg(test)]
    pub(crate) fn of_parts(high: u64, low: u64) -> Self {
        Self { high: NonZeroU64::MIN | (high << MARKS), low }
    }

    /// Returns its shard out of `n`, by other bits than [`Fingerprint::bits`].
    pub(crate) fn shard(self, n: usize) -> usize {
        ((self.high.get() >> MARKS) % n as u64) as usize
    }

    /// Returns the bits that a hash table uses as the hash. They are random already.
    pub(crate) fn bits(self) -> u64 {
        self.low
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Returns the written bits as the hash.
#[derive(Clone, Copy, Default)]
pub(crate) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, bits: u64) {
        self.0 = bits;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed, and they write 64 bits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_and_values_do_not_run_into_each_other() {
        let prints = Fingerprints::new();
        let all = [
            prints.of_session(&"a".parse().unwrap()),
            prints.of_claim("/sub", "a"),
            prints.of_claim("/su", "ba"),
            prints.of_claim("/sid", "a"),
            prints.of_unselectable(0),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.fingerprint() != one.fingerprint()), "{n}");
        }
        assert!(prints.of_claim("/sub", "a") == all[1]);
    }

    #[test]
    fn debug_does_not_tell_the_value() {
        let selector = Selector::Claim { claim: "/sub".into(), value: "alice".parse().unwrap() };
        let shown = format!("{selector:?}");
        assert!(shown.contains("/sub") && !shown.contains("alice"), "{shown}");
    }
}
