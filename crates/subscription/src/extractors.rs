//! Extractors: which fields of an event, and which claims of a token, constraints speak of (RIG: `EXTRACTORS`).

use std::collections::{BTreeMap, HashMap, HashSet};

use event::{Pointer, PointerTree};
use serde_json::{Map, Value};

use crate::subscription::Subscription;

/// The extractors of all event types.
#[derive(Default)]
pub struct Extractors(HashMap<String, TypeExtractors>);

/// The fields of one event type, in the order of their index.
pub(crate) struct TypeExtractors {
    pub(crate) fields: Vec<Field>,
    /// Finds the values of all fields in one pass; in the order of `fields`.
    pub(crate) tree: PointerTree,
}

pub(crate) struct Field {
    pub(crate) name: String,
    jwt: Option<Pointer>,
}

/// Every mistake of a document of extractors, each with its place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ExtractorsError(Vec<String>);

struct Parsed {
    name: String,
    index: u64,
    event: Pointer,
    jwt: Option<Pointer>,
}

impl Extractors {
    /// Reads the document: `{eventType: {field: {"stable_field_index": n, "event": {"json_pointer": "/data/name"},
    /// "jwt": {"json_pointer": "/username"}}}}`. Index and event pointer are required, indices unique.
    ///
    /// # Errors
    /// All mistakes at once, each with its path.
    pub fn from_json(document: &str) -> Result<Self, ExtractorsError> {
        let document: Value = serde_json::from_str(document)
            .map_err(|error| ExtractorsError(vec![format!("not JSON: {error}")]))?;
        let mut mistakes = Vec::new();
        let mut all = HashMap::new();
        for (event_type, fields) in members(&document, "", &mut mistakes) {
            let path = format!("/{event_type}");
            let mut parsed: Vec<Parsed> = members(fields, &path, &mut mistakes)
                .into_iter()
                .filter_map(|(name, field)| {
                    parse_field(name, field, &format!("{path}/{name}"), &mut mistakes)
                })
                .collect();
            parsed.sort_by_key(|field| field.index);
            for pair in parsed.windows(2).filter(|pair| pair[0].index == pair[1].index) {
                mistakes.push(format!(
                    "{path}: {} and {} have the same stable_field_index {}",
                    pair[0].name, pair[1].name, pair[0].index
                ));
            }
            let tree = PointerTree::new(parsed.iter().map(|field| &field.event));
            let fields = parsed.into_iter().map(|field| Field { name: field.name, jwt: field.jwt }).collect();
            all.insert(event_type.clone(), TypeExtractors { fields, tree });
        }
        if mistakes.is_empty() { Ok(Self(all)) } else { Err(ExtractorsError(mistakes)) }
    }

    /// The subscriptions that these claims bring: for each event type with `jwt` pointers found in them, one that
    /// constrains all those fields.
    pub fn subscriptions_for(&self, claims: &Map<String, Value>) -> Vec<Subscription> {
        let claims = Value::Object(claims.clone());
        let mut types: Vec<_> = self.0.iter().collect();
        types.sort_by_key(|(event_type, _)| *event_type);
        types
            .into_iter()
            .filter_map(|(event_type, extractors)| {
                let clause: BTreeMap<_, _> = extractors
                    .fields
                    .iter()
                    .filter_map(|field| {
                        let value = field.jwt.as_ref()?.resolve(&claims)?;
                        (!value.is_null()).then(|| (field.name.clone(), value.clone()))
                    })
                    .collect();
                (!clause.is_empty()).then(|| Subscription::new(event_type, vec![clause]))
            })
            .collect()
    }

    pub(crate) fn of_type(&self, event_type: &str) -> Option<&TypeExtractors> {
        self.0.get(event_type)
    }
}

impl TypeExtractors {
    pub(crate) fn position(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|known| known.name == field)
    }
}

impl std::fmt::Debug for Extractors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn members<'v>(value: &'v Value, path: &str, mistakes: &mut Vec<String>) -> Vec<(&'v String, &'v Value)> {
    match value {
        Value::Object(members) => members.iter().collect(),
        _ => {
            mistakes.push(format!("{}: expected an object", if path.is_empty() { "/" } else { path }));
            Vec::new()
        }
    }
}

fn parse_field(name: &str, field: &Value, path: &str, mistakes: &mut Vec<String>) -> Option<Parsed> {
    let before = mistakes.len();
    let known = HashSet::from(["stable_field_index", "event", "jwt"]);
    for (key, _) in members(field, path, mistakes) {
        if !known.contains(key.as_str()) {
            mistakes.push(format!("{path}/{key}: unknown; allowed: stable_field_index, event, jwt"));
        }
    }
    let index = field.get("stable_field_index").and_then(Value::as_u64);
    if index.is_none() {
        mistakes.push(format!("{path}/stable_field_index: expected a number from 0"));
    }
    let mut pointer = |key: &str, required: bool| {
        let place = format!("{path}/{key}/json_pointer");
        match field.get(key) {
            None if !required => None,
            part => match part.and_then(|part| part.get("json_pointer")).and_then(Value::as_str) {
                None => {
                    mistakes.push(format!("{place}: expected a JSON Pointer"));
                    None
                }
                Some(text) => {
                    Pointer::parse(text).inspect_err(|error| mistakes.push(format!("{place}: {error}"))).ok()
                }
            },
        }
    };
    let (event, jwt) = (pointer("event", true), pointer("jwt", false));
    if mistakes.len() > before {
        return None;
    }
    Some(Parsed { name: name.to_owned(), index: index?, event: event?, jwt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_bring_subscriptions() {
        let extractors = Extractors::from_json(
            r#"{"greeting":{"name":{"stable_field_index":0,"event":{"json_pointer":"/data/name"},"jwt":{"json_pointer":"/username"}}},
                "other":{"x":{"stable_field_index":0,"event":{"json_pointer":"/data/x"}}}}"#,
        )
        .unwrap();
        let brought = extractors.subscriptions_for(json!({"username": "bob"}).as_object().unwrap());
        assert_eq!(json!(brought), json!([{"eventType": "greeting", "oneOf": [{"name": "bob"}]}]));
        assert!(extractors.subscriptions_for(json!({"username": null}).as_object().unwrap()).is_empty());
        assert!(extractors.subscriptions_for(&Map::new()).is_empty());
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let mistakes = Extractors::from_json(
            r#"{"t":{"a":{"stable_field_index":0,"event":{"json_pointer":"/a"},"evnt":1},
                "b":{"stable_field_index":-1,"event":{"json_pointer":"b"}},
                "c":{"stable_field_index":1,"event":{"json_pointer":"/c"}},
                "d":{"stable_field_index":1,"event":{"json_pointer":"/d"}}},"u":5}"#,
        )
        .err()
        .unwrap()
        .to_string();
        for place in
            ["/t/a/evnt", "/t/b/stable_field_index", "/t/b/event/json_pointer", "c and d", "/u: expected"]
        {
            assert!(mistakes.contains(place), "{place} in {mistakes}");
        }
    }
}
