//! Extractors: the fields of events and claims of tokens that constraints can name (RIG:
//! `EXTRACTORS`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use event::{Pointer, PointerTree};
use json::ValueKey;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::subscription::{Clause, Subscription};

mod parse;

pub use parse::{ExtractorMistake, ExtractorsError};

/// The extractors of all event types, which can be replaced at any time. Without any, subscriptions
/// select by event type alone.
#[derive(Default)]
pub struct Extractors {
    types: ArcSwap<Types>,
    /// Serializes replacements, since each one keeps the positions of the one before.
    replacing: Mutex<()>,
}

/// The fields of each event type.
pub(crate) type Types = BTreeMap<String, TypeExtractors>;

/// The fields of one event type. A field, even a removed one, keeps its position as long as the
/// process runs, because the index files constraints by position.
pub(crate) struct TypeExtractors {
    fields: Vec<Field>,
    /// Finds the values of all fields in one pass; in the order of `fields`.
    tree: PointerTree,
}

struct Field {
    name: String,
    /// Where the value is in an event; `None` if the field was removed, and has no value in any
    /// event.
    event: Option<Pointer>,
    /// The claim whose value the field must have in the events that a token subscribes to by
    /// itself.
    jwt: Option<Pointer>,
}

impl Extractors {
    /// Reads the document: `{eventType: {field: {"stable_field_index": n, "event": {"json_pointer":
    /// "/data/name"}, "jwt": {"json_pointer": "/username"}}}}`. Index and event pointer are
    /// required, the indices of a type unique.
    ///
    /// # Errors
    /// Fails with all mistakes at once, each with its path. An unknown member is a mistake.
    pub fn from_json(document: &str) -> Result<Self, ExtractorsError> {
        let types = ArcSwap::from_pointee(parse::read(document)?);
        Ok(Self { types, replacing: Mutex::default() })
    }

    /// Replaces the extractors with those of another document, for events and subscriptions from
    /// now on. The constraints of open subscriptions follow their field by its name: they use its
    /// new pointer, and match nothing while there is no such field. Returns the removed fields, as
    /// `type: field`.
    ///
    /// # Errors
    /// Fails as [`Self::from_json`] does; then nothing changes.
    pub fn replace(&self, document: &str) -> Result<Vec<String>, ExtractorsError> {
        let mut fresh = parse::read(document)?;
        let _replacing = self.replacing.lock();
        let old = self.types.load();
        let mut gone = Vec::new();
        for (event_type, before) in &**old {
            let after = fresh.remove(event_type).unwrap_or_else(|| TypeExtractors::new(Vec::new()));
            let after = after.in_the_places_of(before);
            let lost = before.fields.iter().zip(&after.fields);
            let lost = lost.filter(|(before, after)| before.event.is_some() && after.event.is_none());
            gone.extend(lost.map(|(field, _)| format!("{event_type}: {}", field.name)));
            fresh.insert(event_type.clone(), after);
        }
        self.types.store(Arc::new(fresh));
        Ok(gone)
    }

    /// Returns the subscriptions that these claims bring (RIG): for each event type whose `jwt`
    /// pointers find claims, a subscription that requires the values of all those claims. A claim
    /// that is null counts as missing. Sorted by event type.
    pub fn subscriptions_for(&self, claims: &Map<String, Value>) -> Vec<Subscription> {
        let types = self.current();
        if types.values().all(|of_type| of_type.fields.iter().all(|field| field.jwt.is_none())) {
            return Vec::new();
        }
        let claims = Value::Object(claims.clone());
        let brought = types.iter().filter_map(|(event_type, of_type)| {
            let clause = of_type.clause_for(&claims);
            (!clause.is_empty()).then(|| Subscription::new(event_type, vec![clause]))
        });
        brought.collect()
    }

    /// Returns the value of each field of an event by its position, the [`FieldAt`] of
    /// constraints. A field that is absent, null or removed has none. Parses the JSON only if the
    /// type has fields.
    ///
    /// [`FieldAt`]: crate::FieldAt
    pub fn values(&self, event_type: &str, json: &[u8]) -> Vec<Option<ValueKey>> {
        let types = self.current();
        let Some(extractors) = types.get(event_type) else { return Vec::new() };
        let key = |value: Option<&str>| value.and_then(ValueKey::of_json);
        extractors.extract(json).into_iter().map(key).collect()
    }

    /// Returns the extractors in force.
    pub(crate) fn current(&self) -> Guard<Arc<Types>> {
        self.types.load()
    }
}

impl TypeExtractors {
    fn new(fields: Vec<Field>) -> Self {
        let tree = PointerTree::new(fields.iter().map(|field| field.event.as_ref()));
        Self { fields, tree }
    }

    /// Returns the same fields, each at the position of its name in `old`; new ones follow.
    fn in_the_places_of(self, old: &Self) -> Self {
        let gone = |field: &Field| Field { name: field.name.clone(), event: None, jwt: None };
        let mut fields: Vec<Field> = old.fields.iter().map(gone).collect();
        let places: HashMap<&str, usize> =
            old.fields.iter().enumerate().map(|(at, field)| (&*field.name, at)).collect();
        for field in self.fields {
            match places.get(&*field.name) {
                Some(at) => fields[*at] = field,
                None => fields.push(field),
            }
        }
        Self::new(fields)
    }

    /// Returns the position of a field among the values that [`Self::extract`] returns; `None` if
    /// there is no such field now.
    pub(crate) fn position(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|known| known.name == field && known.event.is_some())
    }

    /// Returns the value of each field in an event's JSON, as it is written there.
    pub(crate) fn extract<'j>(&self, json: &'j [u8]) -> Vec<Option<&'j str>> {
        self.tree.extract(json)
    }

    fn clause_for(&self, claims: &Value) -> Clause {
        let found = self.fields.iter().filter_map(|field| {
            let value = field.jwt.as_ref()?.resolve(claims)?;
            (!value.is_null()).then(|| (field.name.clone(), value.clone()))
        });
        found.collect()
    }
}

/// Shows which types have which fields.
impl fmt::Debug for Extractors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |of_type: &TypeExtractors| -> Vec<String> {
            let fields = of_type.fields.iter().filter(|field| field.event.is_some());
            fields.map(|field| field.name.clone()).collect()
        };
        f.debug_map()
            .entries(self.current().iter().map(|(event_type, of_type)| (event_type, names(of_type))))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn brought(claims: &Value) -> Value {
        let extractors = Extractors::from_json(
            r#"{"order":{
                    "user":{"stable_field_index":1,"event":{"json_pointer":"/data/user"},"jwt":{"json_pointer":"/username"}},
                    "shop":{"stable_field_index":0,"event":{"json_pointer":"/data/shop"},"jwt":{"json_pointer":"/org/shops/0"}},
                    "lvl":{"stable_field_index":2,"event":{"json_pointer":"/data/lvl"}}},
                "greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"},"jwt":{"json_pointer":"/username"}}},
                "other":{"x":{"stable_field_index":0,"event":{"json_pointer":"/data/x"}}}}"#,
        )
        .unwrap();
        json!(extractors.subscriptions_for(claims.as_object().unwrap()))
    }

    #[test]
    fn claims_bring_one_conjunction_for_each_type() {
        assert_eq!(
            brought(&json!({"username": "bob", "org": {"shops": [7, 8]}, "x": 1})),
            json!([
                {"eventType": "greeting", "oneOf": [{"name": "bob"}]},
                {"eventType": "order", "oneOf": [{"shop": 7, "user": "bob"}]}
            ])
        );
    }

    #[test]
    fn claims_that_are_null_or_absent_bring_nothing() {
        assert_eq!(
            brought(&json!({"username": null, "org": {"shops": [7]}})),
            json!([{"eventType": "order", "oneOf": [{"shop": 7}]}])
        );
        assert_eq!(brought(&json!({"username": null, "org": "acme"})), json!([]));
        assert_eq!(brought(&json!({})), json!([]));
    }

    #[test]
    fn no_extractors_bring_nothing() {
        let claims = json!({"username": "bob"});
        assert!(Extractors::default().subscriptions_for(claims.as_object().unwrap()).is_empty());
    }

    #[test]
    fn values_come_in_the_order_of_the_indices() {
        let extractors = Extractors::from_json(
            r#"{"t":{"a":{"stable_field_index":9,"event":{"json_pointer":"/a"}},
                "b":{"stable_field_index":2,"event":{"json_pointer":"/b"}}}}"#,
        )
        .unwrap();
        let types = extractors.current();
        let of_type = &types["t"];
        assert_eq!(
            (of_type.position("b"), of_type.position("a"), of_type.position("c")),
            (Some(0), Some(1), None)
        );
        assert_eq!(of_type.extract(br#"{"a":1,"b":2}"#), [Some("2"), Some("1")]);
        assert_eq!(format!("{extractors:?}"), r#"{"t": ["b", "a"]}"#);
    }
}
