//! The differences between two lists of definitions.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// Limit of the pointers that are reported for one API.
const MAX_POINTERS: usize = 20;

/// An API that differs between the two lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its id.
    pub id: String,
    /// `added`, `changed` or `removed`.
    pub what: &'static str,
    /// JSON Pointers (RFC 6901) to the changed members, the first twenty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pointers: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.id.escape_debug())?;
        if self.pointers.is_empty() { Ok(()) } else { write!(f, ": {}", self.pointers.join(", ")) }
    }
}

/// Returns the changes that turn one list into the other, by id.
pub fn difference(before: &[Map<String, Value>], after: &[Map<String, Value>]) -> Vec<Difference> {
    let (before, after) = (by_id(before), by_id(after));
    let removed =
        before.keys().filter(|id| !after.contains_key(*id)).map(|id| told(id, "removed", Vec::new()));
    let other = after.iter().filter_map(|(id, document)| match before.get(id) {
        None => Some(told(id, "added", Vec::new())),
        Some(same) if same == document => None,
        Some(old) => {
            let mut pointers = Vec::new();
            differing_members(old, document, "", &mut pointers);
            Some(told(id, "changed", pointers))
        }
    });
    let mut all: Vec<_> = removed.chain(other).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

fn told(id: &str, what: &'static str, pointers: Vec<String>) -> Difference {
    Difference { id: id.to_owned(), what, pointers }
}

fn by_id(documents: &[Map<String, Value>]) -> BTreeMap<&str, &Map<String, Value>> {
    documents.iter().filter_map(|document| Some((document.get("id")?.as_str()?, document))).collect()
}

fn differing_members(a: &Map<String, Value>, b: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let only_b = b.keys().filter(|name| !a.contains_key(*name));
    for name in a.keys().chain(only_b) {
        let pointer = document::child(at, name);
        differing(a.get(name), b.get(name), pointer, found);
    }
}

fn differing(a: Option<&Value>, b: Option<&Value>, at: String, found: &mut Vec<String>) {
    if a == b || found.len() >= MAX_POINTERS {
        return;
    }
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => differing_members(a, b, &at, found),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                differing(a.get(index), b.get(index), format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at),
    }
}
