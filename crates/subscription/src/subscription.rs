//! A subscription: an event type, and sets of values, one of which must match.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::extractors::{Extractors, TypeExtractors, Types};

mod error;
#[cfg(test)]
mod tests;

pub use error::{SubscriptionError, SubscriptionFault};

/// The limit of subscriptions in one list. A frontend has a handful.
pub const MAX_SUBSCRIPTIONS: usize = 200;
/// The limit of clauses in one list, over all its subscriptions. Each one needs an entry in the
/// index.
pub const MAX_CLAUSES: usize = 1000;
/// Length limit of an event type, in bytes: no event has a longer one.
pub const MAX_EVENT_TYPE: usize = event::MAX_TYPE;
/// Length limit of a value of a constraint, in bytes of JSON. Values are ids and names, and the
/// index stores each of them.
pub const MAX_VALUE: usize = 4096;

/// Fields and the values they must all have.
pub(crate) type Clause = BTreeMap<String, Value>;

/// What a client wants to receive. Serializes as RIG writes it: `{"eventType": …, "oneOf": [{field:
/// value}]}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subscription {
    #[serde(rename = "eventType")]
    event_type: String,
    /// At least one of these must match; an empty list matches every event of the type.
    #[serde(rename = "oneOf")]
    one_of: Vec<Clause>,
}

impl Subscription {
    /// Creates a subscription that is known to be valid.
    pub(crate) fn new(event_type: &str, one_of: Vec<Clause>) -> Self {
        Self { event_type: event_type.to_owned(), one_of }
    }

    /// Reads a list of `{"eventType": …, "oneOf": [{field: value}]}`; also accepted (RIG):
    /// `event_type`, `one_of`, `constraints`. The same subscription may occur twice.
    ///
    /// # Errors
    /// Fails with the first invalid subscription and its fault. A field that the extractors of the
    /// type do not define, and a null, are errors, since they could match nothing; RIG treats them
    /// as "any". An unknown member is an error too, since with a misspelt `oneOf`, the subscription
    /// would match everything.
    pub fn parse_list(list: &Value, extractors: &Extractors) -> Result<Vec<Self>, SubscriptionError> {
        let list = list.as_array().ok_or(SubscriptionError::NotAList)?;
        if list.len() > MAX_SUBSCRIPTIONS {
            return Err(SubscriptionError::TooMany { given: list.len() });
        }
        let mut clauses = 0;
        let types = extractors.current();
        let parse = |(index, one)| {
            let parsed = Self::parse(one, &types)
                .map_err(|fault| SubscriptionError::Invalid { index, fault: Box::new(fault) })?;
            clauses += parsed.one_of.len();
            if clauses > MAX_CLAUSES {
                return Err(SubscriptionError::TooManyClauses { index });
            }
            Ok(parsed)
        };
        list.iter().enumerate().map(parse).collect()
    }

    /// Returns the event type; never empty.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub(crate) fn one_of(&self) -> &[Clause] {
        &self.one_of
    }

    fn parse(value: &Value, types: &Types) -> Result<Self, SubscriptionFault> {
        let members = value.as_object().ok_or(SubscriptionFault::NotAMap)?;
        let event_type = one_name(members, EVENT_TYPE_NAMES)?.ok_or(SubscriptionFault::NoEventType)?;
        let one_of = one_name(members, ONE_OF_NAMES)?;
        let event_type =
            event_type.as_str().filter(|text| !text.is_empty()).ok_or(SubscriptionFault::EmptyEventType)?;
        if event_type.len() > MAX_EVENT_TYPE {
            return Err(SubscriptionFault::LongEventType { length: event_type.len() });
        }
        let unknown = members.keys().find(|name| {
            !EVENT_TYPE_NAMES.contains(&name.as_str()) && !ONE_OF_NAMES.contains(&name.as_str())
        });
        if let Some(name) = unknown {
            return Err(SubscriptionFault::UnknownMember { name: error::shown(name) });
        }
        let clauses = match one_of {
            None => &[],
            Some(list) => list.as_array().ok_or(SubscriptionFault::ClausesNotAList)?.as_slice(),
        };
        if clauses.len() > MAX_CLAUSES {
            return Err(SubscriptionFault::ManyClauses { given: clauses.len() });
        }
        let fields = types.get(event_type);
        let parse = |(at, clause)| parse_clause(at, clause, fields);
        let one_of = clauses.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { event_type: event_type.to_owned(), one_of })
    }
}

const EVENT_TYPE_NAMES: &[&str] = &["eventType", "event_type"];
const ONE_OF_NAMES: &[&str] = &["oneOf", "one_of", "constraints"];

/// Returns the member under any of its names. Fails if two of them are given: it would be unclear
/// which one counts.
fn one_name<'v>(
    members: &'v Map<String, Value>,
    names: &[&'static str],
) -> Result<Option<&'v Value>, SubscriptionFault> {
    let mut given = names.iter().filter(|name| members.contains_key(**name));
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => Err(SubscriptionFault::Twice { first, second }),
        (first, _) => Ok(first.and_then(|name| members.get(*name))),
    }
}

fn parse_clause(
    at: usize,
    clause: &Value,
    fields: Option<&TypeExtractors>,
) -> Result<Clause, SubscriptionFault> {
    let clause = clause.as_object().ok_or(SubscriptionFault::ClauseNotAMap { clause: at })?;
    let mut parsed = Clause::new();
    for (field, value) in clause {
        if field.is_empty() {
            return Err(SubscriptionFault::EmptyField { clause: at });
        }
        if fields.is_none_or(|fields| fields.position(field).is_none()) {
            return Err(SubscriptionFault::UnknownField { clause: at, field: error::shown(field) });
        }
        if value.is_null() {
            return Err(SubscriptionFault::NullValue { clause: at, field: error::shown(field) });
        }
        if !fits(value) {
            return Err(SubscriptionFault::LongValue { clause: at, field: error::shown(field) });
        }
        parsed.insert(field.clone(), value.clone());
    }
    Ok(parsed)
}

/// Returns `true` if the value is within [`MAX_VALUE`]. Stops serializing at the limit.
fn fits(value: &Value) -> bool {
    struct ByteBudget(usize);
    impl std::io::Write for ByteBudget {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(ByteBudget(MAX_VALUE), value).is_ok()
}
