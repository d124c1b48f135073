//! The answer of a transmitter (RFC 8936, section 2.3).

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize as Derived;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Limit of the events of one answer: some transmitters send more than they were asked for.
const MOST: usize = 1000;

/// Events that were fetched.
#[derive(Debug)]
pub(super) struct Events {
    /// The events, by `jti`; `None` for one that is no text.
    pub(super) sets: Vec<(String, Option<String>)>,
    /// Whether more wait.
    pub(super) is_more: bool,
}

impl Events {
    /// Reads an answer. Keeps nothing of it but the events, so that an answer within the limit of
    /// bytes does not take many times as much memory. The text of an error contains nothing of it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return Err(format!(
                "the answer of the transmitter is no JSON object with up to {MOST} events in sets, each once"
            ));
        };
        Ok(Self {
            // Some leave it out if there are none.
            is_more: answer.sets.is_some() && matches!(answer.more_available, Some(Leaf::Flag(true))),
            sets: answer.sets.map_or_else(Vec::new, |sets| sets.0),
        })
    }
}

#[derive(Derived)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Answer {
    sets: Option<Sets>,
    more_available: Option<Leaf>,
}

/// The members of `sets`.
struct Sets(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for Sets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Sets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Sets, A::Error> {
                let (mut sets, mut ids) = (Vec::new(), HashSet::new());
                while let Some((id, set)) = members.next_entry::<String, Leaf>()? {
                    if sets.len() == MOST || !ids.insert(id.clone()) {
                        return Err(A::Error::custom("too many events, or one twice"));
                    }
                    let text = match set {
                        Leaf::Text(text) => Some(text),
                        Leaf::Flag(_) | Leaf::Other => None,
                    };
                    sets.push((id, text));
                }
                Ok(Sets(sets))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A text, or true or false; nothing is kept of any other value.
enum Leaf {
    Text(String),
    Flag(bool),
    Other,
}

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;

        impl<'de> Visitor<'de> for Value {
            type Value = Leaf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Leaf, E> {
                Ok(Leaf::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Leaf, E> {
                Ok(Leaf::Flag(flag))
            }

            fn visit_unit<E>(self) -> Result<Leaf, E> {
                Ok(Leaf::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Leaf, E> {
                Ok(Leaf::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Leaf, E> {
                Ok(Leaf::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Leaf, E> {
                Ok(Leaf::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Leaf, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Leaf::Other)
            }

            // Other numbers too, which keep their digits.
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Leaf, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Leaf::Other)
            }
        }

        deserializer.deserialize_any(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_texts_and_everything_else_is_dropped() {
        let body = r#"{"more": [1], "sets": {"a": "x.y.z", "b": 1, "c": {"d": ["e"]}, "f": null, "g": -12e3},
                       "moreAvailable": true}"#;
        let events = Events::parse(body.as_bytes()).unwrap();
        assert!(events.is_more);
        let found: Vec<_> = events.sets.iter().map(|(id, set)| (&**id, set.as_deref())).collect();
        assert_eq!(found, [("a", Some("x.y.z")), ("b", None), ("c", None), ("f", None), ("g", None)]);
        for (none, is_more) in [("{}", false), (r#"{"sets":null,"moreAvailable":true}"#, false)] {
            let events = Events::parse(none.as_bytes()).unwrap();
            assert!(events.sets.is_empty() && events.is_more == is_more, "{none}");
        }
    }

    #[test]
    fn more_events_than_are_kept_and_doubled_ones_are_an_error() {
        let many = |count: usize| {
            let sets: Vec<_> = (0..count).map(|n| format!(r#""{n}":"""#)).collect();
            Events::parse(format!(r#"{{"sets":{{{}}}}}"#, sets.join(",")).as_bytes())
        };
        assert_eq!(many(MOST).unwrap().sets.len(), MOST);
        assert!(many(MOST + 1).unwrap_err().contains("1000"));
        assert!(Events::parse(br#"{"sets":{"a":"1","a":"2"}}"#).is_err());
        assert!(Events::parse(br#"{"sets":{},"sets":{}}"#).is_err());
    }
}
