//! Parses the document of extractors and reports all its mistakes together.

use std::collections::BTreeMap;

use document::{JsonError, child};
use event::{Pointer, PointerError};
use serde_json::{Map, Value};

use super::{Field, TypeExtractors, Types};

/// Every mistake of a document of extractors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ExtractorMistake::to_string).collect::<Vec<_>>().join("; "))]
pub struct ExtractorsError(Vec<ExtractorMistake>);

impl ExtractorsError {
    /// Returns the mistakes, sorted by event type; at least one.
    pub fn mistakes(&self) -> &[ExtractorMistake] {
        &self.0
    }
}

/// One mistake. `path` is the JSON Pointer of its place in the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "path and name mean the same in all")]
pub enum ExtractorMistake {
    /// Not JSON. The text contains the position.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// An object has a member twice; line and column are those of the second one, from 1.
    #[error("{path}: given more than once (line {line}, column {column})")]
    Twice { path: String, line: usize, column: usize },
    /// Not an object, although one is required.
    #[error("{}: expected an object", if .path.is_empty() { "/" } else { .path })]
    NotAnObject { path: String },
    /// An event type or a field with an empty name, which no subscription could use.
    #[error("{path}: the name is empty")]
    NoName { path: String },
    /// A member that extractors do not have.
    #[error("{path}: unknown; allowed: {allowed}")]
    Unknown { path: String, allowed: &'static str },
    /// The index is missing, or not a nonnegative integer.
    #[error("{path}: expected a number from 0")]
    NotAnIndex { path: String },
    /// Two fields of a type have the same index.
    #[error("{path}: {index} is the stable_field_index of {other} too")]
    SameIndex { path: String, index: u64, other: String },
    /// The pointer is missing, or not a string.
    #[error("{path}: expected a JSON Pointer")]
    NotAPointer { path: String },
    /// The pointer violates RFC 6901.
    #[error("{path}: {error}")]
    BadPointer { path: String, error: PointerError },
}

/// Reads the whole document.
pub(super) fn read(text: &str) -> Result<Types, ExtractorsError> {
    let document = document::from_str(text).map_err(|error| {
        ExtractorsError(vec![match error {
            JsonError::Duplicate { pointer, line, column } => {
                ExtractorMistake::Twice { path: pointer, line, column }
            }
            JsonError::Syntax(error) => ExtractorMistake::NotJson(error.to_string()),
        }])
    })?;
    let mut reader = ExtractorsReader::default();
    let mut types = BTreeMap::new();
    for (event_type, fields) in reader.named("", &document) {
        let of_type = reader.of_type(&child("", event_type), fields);
        types.insert(event_type.clone(), of_type);
    }
    if reader.mistakes.is_empty() { Ok(types) } else { Err(ExtractorsError(reader.mistakes)) }
}

/// One field; a missing part was reported as a mistake.
struct Draft<'v> {
    name: &'v str,
    index: u64,
    event: Option<Pointer>,
    jwt: Option<Pointer>,
}

#[derive(Default)]
struct ExtractorsReader {
    mistakes: Vec<ExtractorMistake>,
}

impl ExtractorsReader {
    fn of_type(&mut self, path: &str, fields: &Value) -> TypeExtractors {
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        for (name, field) in self.named(path, fields) {
            drafts.extend(self.field(&child(path, name), name, field));
        }
        // The sort is stable, so if two have the same index, the later one in the document is
        // reported.
        drafts.sort_by_key(|draft| draft.index);
        for pair in drafts.windows(2).filter(|pair| pair[0].index == pair[1].index) {
            self.mistakes.push(ExtractorMistake::SameIndex {
                path: format!("{}/stable_field_index", child(path, pair[1].name)),
                index: pair[1].index,
                other: child(path, pair[0].name),
            });
        }
        let field =
            |draft: Draft<'_>| Field { name: draft.name.to_owned(), event: draft.event, jwt: draft.jwt };
        TypeExtractors::new(drafts.into_iter().map(field).collect())
    }

    /// Parses a field; `None` if it has no index.
    fn field<'v>(&mut self, path: &str, name: &'v str, field: &Value) -> Option<Draft<'v>> {
        let members = self.object(path, field)?;
        self.only(path, members, &["stable_field_index", "event", "jwt"], "stable_field_index, event, jwt");
        let index = members.get("stable_field_index").and_then(Value::as_u64);
        if index.is_none() {
            self.mistakes.push(ExtractorMistake::NotAnIndex { path: format!("{path}/stable_field_index") });
        }
        let event = self.pointer(&format!("{path}/event"), members.get("event"));
        let jwt = members.get("jwt").and_then(|jwt| self.pointer(&format!("{path}/jwt"), Some(jwt)));
        Some(Draft { name, index: index?, event, jwt })
    }

    /// Reads the pointer in `{"json_pointer": …}`.
    fn pointer(&mut self, path: &str, holder: Option<&Value>) -> Option<Pointer> {
        let members = match holder {
            Some(holder) => Some(self.object(path, holder)?),
            None => None,
        };
        if let Some(members) = members {
            self.only(path, members, &["json_pointer"], "json_pointer");
        }
        let path = format!("{path}/json_pointer");
        let Some(text) = members.and_then(|members| members.get("json_pointer")).and_then(Value::as_str)
        else {
            self.mistakes.push(ExtractorMistake::NotAPointer { path });
            return None;
        };
        Pointer::parse(text)
            .map_err(|error| self.mistakes.push(ExtractorMistake::BadPointer { path, error }))
            .ok()
    }

    /// Reads the members of an object whose names the operator chooses; no name may be empty.
    fn named<'v>(&mut self, path: &str, value: &'v Value) -> Vec<(&'v String, &'v Value)> {
        let members: Vec<_> = self.object(path, value).into_iter().flatten().collect();
        if members.iter().any(|(name, _)| name.is_empty()) {
            self.mistakes.push(ExtractorMistake::NoName { path: child(path, "") });
        }
        members
    }

    fn object<'v>(&mut self, path: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        if !value.is_object() {
            self.mistakes.push(ExtractorMistake::NotAnObject { path: path.to_owned() });
        }
        value.as_object()
    }

    fn only(&mut self, path: &str, members: &Map<String, Value>, known: &[&str], allowed: &'static str) {
        let unknown = members.keys().filter(|name| !known.contains(&name.as_str()));
        self.mistakes
            .extend(unknown.map(|name| ExtractorMistake::Unknown { path: child(path, name), allowed }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        read(text).err().unwrap().mistakes().iter().map(ExtractorMistake::to_string).collect()
    }

    #[test]
    fn all_mistakes_are_reported_together_each_with_its_path() {
        let text = r#"{
            "com.acme/order": {
                "a": {"stable_field_index": 0, "event": {"json_pointer": "/a"}, "evnt": 1},
                "b": {"stable_field_index": -1, "event": {"json_pointer": "b"}},
                "c": {"stable_field_index": 1, "event": {"json_pointer": "/c", "pointer": "/c"}},
                "d": {"stable_field_index": 1, "event": {"json_pointer": "/d"}, "jwt": {"json_pointer": "/~2"}},
                "e": {"stable_field_index": 1.5, "event": {}, "jwt": null},
                "f": {"event": 5, "jwt": {"json_pointer": 5, "x": 1}},
                "": {"stable_field_index": 7, "event": {"json_pointer": ""}},
                "g": []
            },
            "u": 5
        }"#;
        insta::assert_snapshot!(told(text).join("\n"), @r#"
        /com.acme~1order/: the name is empty
        /com.acme~1order/a/evnt: unknown; allowed: stable_field_index, event, jwt
        /com.acme~1order/b/stable_field_index: expected a number from 0
        /com.acme~1order/b/event/json_pointer: a JSON Pointer is empty or starts with "/"
        /com.acme~1order/c/event/pointer: unknown; allowed: json_pointer
        /com.acme~1order/d/jwt/json_pointer: in a JSON Pointer "~" must be followed by 0 or 1; the one at offset 1 is not
        /com.acme~1order/e/stable_field_index: expected a number from 0
        /com.acme~1order/e/event/json_pointer: expected a JSON Pointer
        /com.acme~1order/e/jwt: expected an object
        /com.acme~1order/f/stable_field_index: expected a number from 0
        /com.acme~1order/f/event: expected an object
        /com.acme~1order/f/jwt/x: unknown; allowed: json_pointer
        /com.acme~1order/f/jwt/json_pointer: expected a JSON Pointer
        /com.acme~1order/g: expected an object
        /com.acme~1order/d/stable_field_index: 1 is the stable_field_index of /com.acme~1order/c too
        /u: expected an object
        "#);
    }

    #[test]
    fn invalid_documents() {
        assert_eq!(told("[]"), ["/: expected an object"]);
        assert_eq!(told("{"), ["not JSON: EOF while parsing an object at line 1 column 1"]);
        assert_eq!(told(r#"{"": {}}"#), ["/: the name is empty"]);
    }

    #[test]
    fn an_error_is_one_line() {
        let error = read(r#"{"greeting": {"name": {}}}"#).err().unwrap();
        assert_eq!(
            error.to_string(),
            "/greeting/name/stable_field_index: expected a number from 0; \
             /greeting/name/event/json_pointer: expected a JSON Pointer"
        );
    }

    #[test]
    fn types_without_fields_are_no_mistake() {
        assert!(read("{}").is_ok_and(|types| types.is_empty()));
        assert!(read(r#"{"t": {}}"#).is_ok_and(|types| types["t"].fields.is_empty()));
    }
}
