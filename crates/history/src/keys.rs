//! The keys that events are found by. They are those of the subscription index: the type, and for
//! each field that an extractor defines, the type with the field and its value.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::rand;
use event::Event;
use siphasher::sip128::{Hasher128, SipHasher13};
use subscription::{Extractors, FieldAt, Subscription, Wanted, wanted_by_type};

use crate::payload::Payload;

/// Identifies a key: 128 bits of a keyed hash, so that two keys never share one, not even on
/// purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Fingerprint(pub(crate) [u64; 2]);

/// Bytes of the secret that fingerprints depend on.
pub(crate) const SECRET: usize = 16;

/// Computes the keys of events and of subscriptions for one ring. Needs no lock.
#[derive(Clone)]
pub struct EventKeys(Arc<KeySource>);

struct KeySource {
    secret: [u8; SECRET],
    hasher: SipHasher13,
    /// Types of events that are not kept (`HISTORY_EXCLUDE`).
    excluded: HashSet<Box<str>>,
}

/// The key of an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeKey(pub(crate) Fingerprint);

/// An event with its keys, ready to be pushed.
pub struct Keyed<'e> {
    pub(crate) event_type: &'e str,
    pub(crate) payload: Payload<'e>,
    /// The key of the type, then those of values. Without any, the event is excluded.
    pub(crate) keys: Vec<Fingerprint>,
    pub(crate) type_key: TypeKey,
}

/// The events that a set of subscriptions selects, as keys.
#[derive(Clone, Default)]
pub struct Selection {
    pub(crate) types: Vec<SelectedType>,
}

#[derive(Clone)]
pub(crate) struct SelectedType {
    pub(crate) event_type: Arc<str>,
    pub(crate) key: TypeKey,
    /// An event must have all keys of one of these; `None`: every event of the type is selected.
    pub(crate) one_of: Option<Vec<Box<[Fingerprint]>>>,
}

impl Fingerprint {
    /// Returns the bits that hash tables use.
    pub(crate) const fn hash(self) -> u64 {
        self.0[0]
    }
}

impl EventKeys {
    /// Creates keys with a new secret. Events of `excluded` types are not kept.
    pub(crate) fn new(excluded: &[String]) -> Self {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret).expect("the system gives random bytes");
        Self::with_secret(secret, excluded)
    }

    pub(crate) fn with_secret(secret: [u8; SECRET], excluded: &[String]) -> Self {
        let hasher = SipHasher13::new_with_key(&secret);
        let excluded = excluded.iter().map(|name| name.as_str().into()).collect();
        Self(Arc::new(KeySource { secret, hasher, excluded }))
    }

    pub(crate) fn secret(&self) -> [u8; SECRET] {
        self.0.secret
    }

    /// Returns the key of a type. The same in each build, since it is written to files.
    pub fn of_type(&self, event_type: &str) -> TypeKey {
        let mut hasher = self.0.hasher;
        hasher.write(b"type\0");
        hasher.write(event_type.as_bytes());
        TypeKey(finish(&hasher))
    }

    /// Returns the key of a field's value in events of a type.
    fn of_value(&self, type_key: TypeKey, field: FieldAt, value: &impl Hash) -> Fingerprint {
        let mut hasher = self.0.hasher;
        hasher.write(b"value\0");
        for part in type_key.0.0 {
            hasher.write_u64(part);
        }
        hasher.write_u32(field);
        value.hash(&mut hasher);
        finish(&hasher)
    }

    /// Returns the key of a revocation, for [`Ring::revoke`](crate::Ring::revoke) and its checks:
    /// of the tokens of an issuer, or of every source, with this value of a claim. `of` is the JSON
    /// Pointer of the claim, or empty for a session. The same after a clean restart.
    pub fn of_revocation(&self, issuer: Option<&str>, of: &str, value: &str) -> u128 {
        let mut hasher = self.0.hasher;
        hasher.write(b"revocation\0");
        // The byte 0xff never occurs in UTF-8, so it separates the parts unambiguously.
        for part in [of, value].into_iter().chain(issuer) {
            hasher.write(part.as_bytes());
            hasher.write(&[0xff]);
        }
        hasher.finish128().as_u128()
    }

    /// Returns an event with its keys, from its [values](Extractors::values). Copies a long event,
    /// so that the ring keeps exactly its bytes.
    pub fn of_event<'e, V: Hash>(&self, event: &'e Event, values: &[Option<V>]) -> Keyed<'e> {
        self.keyed(event.event_type(), event.json(), values)
    }

    pub(crate) fn keyed<'e, V: Hash>(
        &self,
        event_type: &'e str,
        json: &'e [u8],
        values: &[Option<V>],
    ) -> Keyed<'e> {
        let type_key = self.of_type(event_type);
        if self.0.excluded.contains(event_type) {
            return Keyed { event_type, payload: Payload::Short(&[]), keys: Vec::new(), type_key };
        }
        let mut keys = Vec::with_capacity(1 + values.len());
        keys.push(type_key.0);
        let values = (0..).zip(values).filter_map(|(field, value)| Some((field, value.as_ref()?)));
        keys.extend(values.map(|(field, value)| self.of_value(type_key, field, value)));
        Keyed { event_type, payload: Payload::of(json), keys, type_key }
    }

    /// Returns what subscriptions select. A constraint on a field that the extractors do not have
    /// any more selects nothing.
    pub fn select(&self, subscriptions: &[Subscription], extractors: &Extractors) -> Selection {
        let types = wanted_by_type(subscriptions, extractors).into_iter().map(|(event_type, wanted)| {
            let key = self.of_type(event_type);
            let one_of = match wanted {
                Wanted::Everything => None,
                Wanted::OneOf(conjunctions) => Some(conjunctions),
            };
            let keys = |conjunction: Vec<(FieldAt, _)>| {
                conjunction.iter().map(|(field, value)| self.of_value(key, *field, value)).collect()
            };
            let one_of = one_of.map(|conjunctions| conjunctions.into_iter().map(keys).collect());
            SelectedType { event_type: event_type.into(), key, one_of }
        });
        Selection { types: types.collect() }
    }
}

fn finish(hasher: &SipHasher13) -> Fingerprint {
    let hash = hasher.finish128();
    Fingerprint([hash.h1, hash.h2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocations_do_not_run_into_each_other() {
        let keys = EventKeys::new(&[]);
        let all = [
            keys.of_revocation(None, "", "a"),
            keys.of_revocation(None, "", "aa"),
            keys.of_revocation(None, "a", ""),
            keys.of_revocation(None, "/sub", "a"),
            keys.of_revocation(None, "/su", "ba"),
            keys.of_revocation(Some(""), "", "a"),
            keys.of_revocation(Some("a"), "", "a"),
            keys.of_revocation(Some("b"), "", "a"),
            keys.of_revocation(Some("a"), "/sub", "a"),
            keys.of_revocation(Some("a"), "a", ""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(keys.of_revocation(Some("a"), "/sub", "a"), all[8]);
        assert!(!all.contains(&EventKeys::new(&[]).of_revocation(None, "", "a")), "another secret");
    }

    /// Files contain keys: if they change, the format of the file must change too.
    #[test]
    fn keys_are_those_of_the_format() {
        let keys = EventKeys::with_secret(*b"0123456789abcdef", &[]);
        let of_type = keys.of_type("order").0.0;
        let of_revocation = keys.of_revocation(Some("https://a.example"), "/sub", "alice");
        assert_eq!(of_type, [14_319_605_845_793_358_746, 13_460_120_110_552_201_212]);
        assert_eq!(of_revocation, 140_710_058_171_097_167_584_320_990_867_622_779_182);
    }
}
