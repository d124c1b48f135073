//! One subscription: an event type, and the values of which at least one set must match.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::extractors::Extractors;

/// Fields and the values they must all have.
pub(crate) type Clause = BTreeMap<String, Value>;

/// What a client wants to receive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscription {
    #[serde(rename = "eventType")]
    event_type: String,
    /// At least one of these must match; an empty list matches every event of the type.
    #[serde(rename = "oneOf")]
    one_of: Vec<Clause>,
}

/// Subscriptions of one client at the most.
const SUBSCRIPTIONS: usize = 200;
/// Clauses of one subscription at the most.
const CLAUSES: usize = 200;
/// The longest event type, in bytes.
const EVENT_TYPE: usize = 1024;

/// A list of subscriptions is wrong; says where and how, in RIG's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Not a list.
    #[error("could not decode subscriptions: subscriptions is expected to be a JSON encoded list")]
    NotAList,
    /// More than are allowed.
    #[error("more than {SUBSCRIPTIONS} subscriptions")]
    TooMany,
    /// One of them is wrong.
    #[error(
        "could not parse subscription from JSON: invalid subscription: {what} (subscriptions/{index}{field})"
    )]
    Invalid {
        /// Its place in the list, from 0.
        index: usize,
        /// The member that is wrong, as the end of a JSON Pointer; empty where it is the whole.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl Subscription {
    pub(crate) fn new(event_type: &str, one_of: Vec<Clause>) -> Self {
        Self { event_type: event_type.to_owned(), one_of }
    }

    /// Reads a list of `{"eventType": …, "oneOf": [{field: value}]}`; also taken (RIG): `event_type`, `one_of`,
    /// `constraints`.
    ///
    /// # Errors
    /// Says which subscription is wrong. A field that no extractor of the type defines, and a null, could never match
    /// and are errors, where RIG takes them for "any".
    pub fn parse_list(list: &Value, extractors: &Extractors) -> Result<Vec<Self>, SubscriptionError> {
        let list = list.as_array().ok_or(SubscriptionError::NotAList)?;
        if list.len() > SUBSCRIPTIONS {
            return Err(SubscriptionError::TooMany);
        }
        list.iter()
            .enumerate()
            .map(|(index, one)| {
                Self::parse(one, extractors).map_err(|(field, what)| SubscriptionError::Invalid {
                    index,
                    field,
                    what,
                })
            })
            .collect()
    }

    fn parse(value: &Value, extractors: &Extractors) -> Result<Self, (&'static str, String)> {
        let members = value.as_object().ok_or_else(|| ("", "not a map".to_owned()))?;
        let event_type = Self::parse_type(members).map_err(|what| ("/eventType", what))?;
        let one_of = Self::parse_clauses(members, event_type, extractors).map_err(|what| ("/oneOf", what))?;
        Ok(Self { event_type: event_type.to_owned(), one_of })
    }

    fn parse_type(members: &Map<String, Value>) -> Result<&str, String> {
        let event_type =
            members.get("eventType").or_else(|| members.get("event_type")).ok_or("event-type not found")?;
        let event_type = event_type.as_str().filter(|text| !text.is_empty()).ok_or("event-type empty")?;
        if event_type.len() > EVENT_TYPE {
            return Err(format!("event-type longer than {EVENT_TYPE} bytes"));
        }
        Ok(event_type)
    }

    fn parse_clauses(
        members: &Map<String, Value>,
        event_type: &str,
        extractors: &Extractors,
    ) -> Result<Vec<Clause>, String> {
        let Some(list) = ["oneOf", "one_of", "constraints"].into_iter().find_map(|key| members.get(key))
        else {
            return Ok(Vec::new());
        };
        let clauses = list.as_array().ok_or("constraints expected to be a list of disjunctive clauses")?;
        if clauses.len() > CLAUSES {
            return Err(format!("more than {CLAUSES} disjunctive clauses"));
        }
        let fields = extractors.of_type(event_type);
        let parse = |clause: &Value| {
            let clause = clause
                .as_object()
                .ok_or("a disjunctive clause expected to be a conjunction represented by a map")?;
            for (field, value) in clause {
                if field.is_empty() {
                    return Err(
                        "conjunctive clauses expected to be a map with nonempty strings as keys".to_owned()
                    );
                }
                if fields.is_none_or(|fields| fields.position(field).is_none()) {
                    return Err(format!("no extractor defines the field {field:?} of this event-type"));
                }
                if value.is_null() {
                    return Err(format!("the field {field:?} is null, which no event matches"));
                }
            }
            Ok(clause.iter().map(|(field, value)| (field.clone(), value.clone())).collect())
        };
        clauses.iter().map(parse).collect()
    }

    /// The event type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub(crate) fn one_of(&self) -> &[Clause] {
        &self.one_of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn extractors() -> Extractors {
        Extractors::from_json(
            r#"{"greeting":{"name":{"stable_field_index":1,"event":{"json_pointer":"/data/name"}},
                "lvl":{"stable_field_index":0,"event":{"json_pointer":"/data/lvl"}}}}"#,
        )
        .unwrap()
    }

    fn error(list: Value) -> String {
        Subscription::parse_list(&list, &extractors()).unwrap_err().to_string()
    }

    #[test]
    fn faults_have_rigs_words_and_their_place() {
        assert!(error(json!(["x"])).contains("invalid subscription: not a map (subscriptions/0)"));
        assert!(error(json!([{"foo": 1}])).contains("event-type not found"));
        assert!(error(json!([{"eventType": ""}])).contains("event-type empty"));
        assert!(error(json!([{"eventType": 5}])).contains("event-type empty"));
        assert!(error(json!([{"eventType": "x", "oneOf": {}}])).contains("list of disjunctive clauses"));
        assert!(error(json!([{"eventType": "x", "oneOf": null}])).contains("list of disjunctive clauses"));
        assert!(error(json!([{"eventType": "x", "oneOf": ["a"]}])).contains("represented by a map"));
        assert!(error(json!([{"eventType": "x", "oneOf": [{"": 1}]}])).contains("nonempty strings as keys"));
        assert!(error(json!([{"eventType": "greeting", "oneOf": [{"nme": 1}]}])).contains("\"nme\""));
        assert!(
            error(json!([{"eventType": "greeting", "oneOf": [{"name": null}]}])).contains("\"name\" is null")
        );
        assert!(error(json!([{"eventType": "x"}, {}])).contains("(subscriptions/1/eventType)"));
    }

    #[test]
    fn d19_a_long_event_type_is_an_error_and_no_more() {
        assert!(error(json!([{"eventType": "x".repeat(2000)}])).contains("longer than 1024 bytes"));
        assert!(Subscription::parse_list(&json!([{"eventType": "x".repeat(300)}]), &extractors()).is_ok());
    }

    #[test]
    fn it_is_written_as_rig_writes_it() {
        let list =
            json!([{"event_type": "greeting", "constraints": [{"name": "bob"}]}, {"eventType": "foo"}]);
        let parsed = Subscription::parse_list(&list, &extractors()).unwrap();
        assert_eq!(
            serde_json::to_string(&parsed).unwrap(),
            r#"[{"eventType":"greeting","oneOf":[{"name":"bob"}]},{"eventType":"foo","oneOf":[]}]"#
        );
    }
}
