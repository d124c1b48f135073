//! What a revocation selects, and the fingerprint under which it is stored.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::name::SessionName;

/// Selects tokens, and with them connections: by their session, by the value of another claim, or
/// by a mark; of one issuer, or of all sources of tokens.
///
/// `Debug` does not show the value, so that the value of a claim does not get into a log by
/// accident.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Selects only tokens with this `iss` (RFC 7519, section 4.1.1); `None`: the tokens of every
    /// source.
    pub issuer: Option<Arc<str>>,
    /// Which of them.
    pub of: Selected,
}

/// What a [`Selector`] looks at.
///
/// `Debug` does not show the value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Selected {
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
    /// All tokens with this mark. Only the gateway itself selects by marks, each node for itself.
    /// With several sources of tokens, the selector must name the issuer.
    Mark {
        /// The kind of the mark. Never begins with `/`, unlike a claim.
        kind: Arc<str>,
        /// Its value.
        value: SessionName,
    },
}

impl Selector {
    /// Returns the selector of all tokens of a session.
    pub fn session(name: SessionName) -> Self {
        Self { issuer: None, of: Selected::Session(name) }
    }

    /// Returns the selector of all tokens with this value of a claim, a JSON Pointer.
    pub fn of_claim(claim: impl Into<Arc<str>>, value: SessionName) -> Self {
        Self { issuer: None, of: Selected::Claim { claim: claim.into(), value } }
    }

    /// Returns the selector of all tokens with this mark.
    pub fn mark(kind: impl Into<Arc<str>>, value: SessionName) -> Self {
        Self { issuer: None, of: Selected::Mark { kind: kind.into(), value } }
    }

    /// Returns the selector of the same tokens, of this issuer only; `None`: of every source.
    #[must_use]
    pub fn issued_by(self, issuer: Option<Arc<str>>) -> Self {
        Self { issuer, ..self }
    }

    /// Returns the name of the session, the claim's value, or the value of the mark.
    pub fn value(&self) -> &SessionName {
        let (Selected::Session(value) | Selected::Claim { value, .. } | Selected::Mark { value, .. }) =
            &self.of;
        value
    }

    /// Returns the JSON Pointer of the claim; `None` for a session or a mark.
    pub fn claim(&self) -> Option<&str> {
        match &self.of {
            Selected::Claim { claim, .. } => Some(claim),
            Selected::Session(_) | Selected::Mark { .. } => None,
        }
    }

    /// Returns the kind of the mark; `None` for a session or a claim.
    pub fn mark_kind(&self) -> Option<&str> {
        match &self.of {
            Selected::Mark { kind, .. } => Some(kind),
            Selected::Session(_) | Selected::Claim { .. } => None,
        }
    }
}

impl From<SessionName> for Selector {
    fn from(name: SessionName) -> Self {
        Self::session(name)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector").field("issuer", &self.issuer).field("of", &self.of).finish_non_exhaustive()
    }
}

impl fmt::Debug for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(_) => f.write_str("session"),
            Self::Claim { claim: name, .. } | Self::Mark { kind: name, .. } => f.write_str(name),
        }
    }
}

/// Identifies a claim and its value: 125 bits of a keyed hash (SipHash-1-3). No client knows the
/// key, which is new in every process. One of the three other bits is always set, so that an
/// `Option` of it is no larger; the other two are the [`Kind`].
///
/// Two values with the same fingerprint would share their revocations. Among ten million entries,
/// the probability that a given token collides with one of another token is 10⁷ · 2⁻¹²⁵, below
/// 10⁻³⁰. A collision cannot be constructed without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    high: NonZeroU64,
    low: u64,
}

/// The number of low bits of `high` that are not part of the hash: one that is always set, and
/// two for the [`Kind`].
const FLAGS: u32 = 3;

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The value of a claim, or a session of one issuer among several.
    Claim = 0b000,
    /// A session, whatever the source of its tokens.
    Session = 0b010,
    /// A mark of a token.
    Mark = 0b100,
    /// Nothing: no revocation selects it.
    Nothing = 0b110,
}

/// Makes fingerprints, all with one key.
///
/// The issuer of a token is part of the hash only if there are several sources of tokens and the
/// key stands for one of them.
pub(crate) struct Fingerprints(SipHasher13);

impl Fingerprints {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self(SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)))
    }

    /// Returns the key of a session. That of one issuer is not counted as a session of its own.
    pub(crate) fn of_session(&self, issuer: Option<&str>, name: &SessionName) -> Key {
        let kind = if issuer.is_some() { Kind::Claim } else { Kind::Session };
        Key(self.of("", name.as_str(), issuer, kind))
    }

    pub(crate) fn of_claim(&self, issuer: Option<&str>, claim: &str, value: &str) -> Key {
        Key(self.of(claim, value, issuer, Kind::Claim))
    }

    pub(crate) fn of_mark(&self, issuer: Option<&str>, kind: &str, value: &str) -> Key {
        Key(self.of(kind, value, issuer, Kind::Mark))
    }

    /// Returns the key of a token that no revocation can select. It is needed so that the token can
    /// expire.
    pub(crate) fn of_unselectable(&self, number: u64) -> Key {
        Key(self.of("\0", &number.to_string(), None, Kind::Nothing))
    }

    /// Returns the fingerprint of a user; of all that have no name, if `sub` is missing.
    pub(crate) fn of_user(&self, issuer: Option<&str>, sub: Option<&str>) -> Fingerprint {
        let kind = if sub.is_some() { Kind::Claim } else { Kind::Nothing };
        self.of("/sub", sub.unwrap_or_default(), issuer, kind)
    }

    /// The byte 0xff never occurs in UTF-8, so it separates the parts unambiguously.
    fn of(&self, claim: &str, value: &str, issuer: Option<&str>, kind: Kind) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(claim.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        if let Some(issuer) = issuer {
            hasher.write_u8(0xff);
            hasher.write(issuer.as_bytes());
        }
        let (high, low) = hasher.finish128().as_u64();
        Fingerprint { high: NonZeroU64::MIN | (high >> FLAGS << FLAGS) | kind as u64, low }
    }
}

/// The key under which the registrations and revocations of a selector are found. It tells sessions
/// from other claims, so that they can be counted separately.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(Fingerprint);

impl Key {
    /// The number of places of one mark: most tokens of an issuer are signed by the same key, so
    /// that one place would be the lock of every connection and request.
    pub(crate) const PLACES: u64 = 16;

    pub(crate) fn fingerprint(self) -> Fingerprint {
        self.0
    }

    pub(crate) fn is_session(self) -> bool {
        self.is(Kind::Session)
    }

    pub(crate) fn is_mark(self) -> bool {
        self.is(Kind::Mark)
    }

    /// Returns whether a session or a claim selects it.
    pub(crate) fn is_selectable(self) -> bool {
        self.is(Kind::Session) || self.is(Kind::Claim)
    }

    /// Returns one of the places of a mark; of another key, the key itself.
    pub(crate) fn at_place(self, number: u64) -> Self {
        if !self.is_mark() {
            return self;
        }
        let Self(Fingerprint { high, low }) = self;
        let place = number % Self::PLACES;
        Self(Fingerprint { high: NonZeroU64::MIN | (high.get() ^ (place << FLAGS)), low })
    }

    /// Returns all keys under which what this one selects is registered.
    pub(crate) fn places(self) -> impl Iterator<Item = Self> {
        let count = if self.is_mark() { Self::PLACES } else { 1 };
        (0..count).map(move |place| self.at_place(place))
    }

    fn is(self, kind: Kind) -> bool {
        self.0.kind_bits() == kind as u64
    }
}

impl Fingerprint {
    /// Returns a fingerprint with these bits, which belongs to no claim.
    #[cfg(test)]
    pub(crate) fn of_parts(high: u64, low: u64) -> Self {
        Self { high: NonZeroU64::MIN | (high << FLAGS), low }
    }

    /// Returns whether it is that of a user who has a name.
    pub(crate) fn names_a_user(self) -> bool {
        self.kind_bits() == Kind::Claim as u64
    }

    fn kind_bits(self) -> u64 {
        self.high.get() & ((1 << FLAGS) - 1) & !1
    }

    /// Returns its shard out of `n`, by other bits than [`Fingerprint::bits`].
    pub(crate) fn shard(self, n: usize) -> usize {
        ((self.high.get() >> FLAGS) % n as u64) as usize
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
    fn claims_values_and_issuers_do_not_run_into_each_other() {
        let prints = Fingerprints::new();
        let name = "a".parse().unwrap();
        let all = [
            prints.of_session(None, &name),
            prints.of_session(Some("a"), &name),
            prints.of_session(Some("b"), &name),
            prints.of_claim(None, "/sub", "a"),
            prints.of_claim(None, "/su", "ba"),
            prints.of_claim(None, "/sid", "a"),
            prints.of_claim(Some("a"), "/sub", "a"),
            prints.of_claim(Some("b"), "/sub", "a"),
            prints.of_mark(None, "key", "a"),
            prints.of_mark(Some("a"), "key", "a"),
            prints.of_unselectable(0),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(all[..n].iter().all(|other| other.fingerprint() != one.fingerprint()), "{n}");
        }
        assert!(prints.of_claim(None, "/sub", "a") == all[3]);
        assert!(prints.of_claim(Some("b"), "/sub", "a") == all[7]);
    }

    #[test]
    fn a_key_tells_what_it_stands_for() {
        let prints = Fingerprints::new();
        let name = "a".parse().unwrap();
        let told = |key: Key| (key.is_session(), key.is_mark(), key.is_selectable());
        assert_eq!(told(prints.of_session(None, &name)), (true, false, true));
        assert_eq!(told(prints.of_session(Some("i"), &name)), (false, false, true), "counted once");
        assert_eq!(told(prints.of_claim(None, "/sub", "a")), (false, false, true));
        assert_eq!(told(prints.of_mark(None, "key", "a")), (false, true, false));
        assert_eq!(told(prints.of_unselectable(7)), (false, false, false));
        assert!(prints.of_user(None, Some("a")).names_a_user());
        assert!(!prints.of_user(Some("i"), None).names_a_user());
    }

    #[test]
    fn a_mark_has_several_places_and_a_claim_one() {
        let prints = Fingerprints::new();
        let mark = prints.of_mark(None, "key", "a");
        let places: Vec<_> = mark.places().collect();
        assert_eq!(places.len() as u64, Key::PLACES);
        for (n, one) in places.iter().enumerate() {
            assert!(one.is_mark() && places[..n].iter().all(|other| other != one), "{n}");
            assert!(mark.at_place(n as u64 + 5 * Key::PLACES) == *one);
        }
        let shards: std::collections::BTreeSet<_> =
            places.iter().map(|key| key.fingerprint().shard(256)).collect();
        assert_eq!(shards.len(), places.len(), "each has a lock of its own");
        let claim = prints.of_claim(None, "/sub", "a");
        assert!(claim.places().eq([claim]));
    }

    #[test]
    fn debug_does_not_tell_the_value() {
        let selector = Selector::of_claim("/sub", "alice".parse().unwrap()).issued_by(Some("i".into()));
        let shown = format!("{selector:?}");
        assert!(shown.contains("/sub") && shown.contains('i') && !shown.contains("alice"), "{shown}");
    }
}
