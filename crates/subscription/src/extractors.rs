//! Extractors: which fields of an event, and which claims of a token, constraints speak of (RIG: `EXTRACTORS`).

use std::collections::BTreeMap;
use std::fmt;

use event::{Pointer, PointerTree};
use serde_json::{Map, Value};

use crate::subscription::{Clause, Subscription};

mod parse;

pub use parse::{ExtractorsError, Mistake};

/// The extractors of all event types. Without any, subscriptions select by event type alone.
#[derive(Default)]
pub struct Extractors(BTreeMap<String, TypeExtractors>);

/// The fields of one event type, in the order of their index.
pub(crate) struct TypeExtractors {
    fields: Vec<Field>,
    /// Finds the values of all fields in one pass; in the order of `fields`.
    tree: PointerTree,
}

struct Field {
    name: String,
    /// The claim whose value the field must have for events that its bearer receives unasked.
    jwt: Option<Pointer>,
}

impl Extractors {
    /// Reads the document: `{eventType: {field: {"stable_field_index": n, "event": {"json_pointer": "/data/name"},
    /// "jwt": {"json_pointer": "/username"}}}}`. Index and event pointer are required, the indices of a type unique.
    ///
    /// # Errors
    /// All mistakes at once, each with its path. An unknown member is one.
    pub fn from_json(document: &str) -> Result<Self, ExtractorsError> {
        parse::read(document).map(Self)
    }

    /// The subscriptions that these claims bring (RIG): for each event type with `jwt` pointers found in them, one that
    /// demands the values of all those claims. A null claim is none. By event type, in alphabetical order.
    pub fn subscriptions_for(&self, claims: &Map<String, Value>) -> Vec<Subscription> {
        if self.0.values().all(|of_type| of_type.fields.iter().all(|field| field.jwt.is_none())) {
            return Vec::new();
        }
        let claims = Value::Object(claims.clone());
        let brought = self.0.iter().filter_map(|(event_type, of_type)| {
            let clause = of_type.clause_for(&claims);
            (!clause.is_empty()).then(|| Subscription::new(event_type, vec![clause]))
        });
        brought.collect()
    }

    pub(crate) fn of_type(&self, event_type: &str) -> Option<&TypeExtractors> {
        self.0.get(event_type)
    }
}

impl TypeExtractors {
    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The position of a field among the values that [`Self::extract`] returns.
    pub(crate) fn position(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|known| known.name == field)
    }

    /// The value of each field in an event's JSON, as it is written there.
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
            of_type.fields.iter().map(|field| field.name.clone()).collect()
        };
        f.debug_map()
            .entries(self.0.iter().map(|(event_type, of_type)| (event_type, names(of_type))))
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
        let of_type = extractors.of_type("t").unwrap();
        assert_eq!(
            (of_type.position("b"), of_type.position("a"), of_type.position("c")),
            (Some(0), Some(1), None)
        );
        assert_eq!(of_type.extract(br#"{"a":1,"b":2}"#), [Some("2"), Some("1")]);
        assert_eq!(format!("{extractors:?}"), r#"{"t": ["b", "a"]}"#);
    }
}
