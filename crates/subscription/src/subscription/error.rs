//! Errors of lists of subscriptions, with RIG's texts if it has one, each with its place.

use super::{MAX_CLAUSES, MAX_EVENT_TYPE, MAX_SUBSCRIPTIONS, MAX_VALUE};

/// A list of subscriptions is invalid. Holds no values of constraints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Not a list.
    #[error("could not decode subscriptions: subscriptions is expected to be a JSON encoded list")]
    NotAList,
    /// More than [`MAX_SUBSCRIPTIONS`].
    #[error("{given} subscriptions given, at most {MAX_SUBSCRIPTIONS} are allowed")]
    TooMany {
        /// How many there are.
        given: usize,
    },
    /// More than [`MAX_CLAUSES`] in all.
    #[error("more than {MAX_CLAUSES} disjunctive clauses in all (subscriptions/{index})")]
    TooManyClauses {
        /// The subscription that exceeds the limit, from 0.
        index: usize,
    },
    /// One of them is invalid.
    #[error("invalid subscription: {fault} (subscriptions/{index}{})", .fault.place())]
    Invalid {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong with it. Boxed, so that results stay small.
        fault: Box<SubscriptionFault>,
    },
}

/// What is wrong with one subscription. `clause` counts the members of `oneOf` from 0; names are
/// cut to a readable length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    /// Not an object.
    #[error("not a map")]
    NotAMap,
    /// No event type.
    #[error("event-type not found")]
    NoEventType,
    /// The event type is empty, or not a string.
    #[error("event-type empty")]
    EmptyEventType,
    /// The event type is longer than [`MAX_EVENT_TYPE`] (d19).
    #[error("event-type longer than {MAX_EVENT_TYPE} bytes: {length}")]
    LongEventType {
        /// Its length in bytes.
        length: usize,
    },
    /// A member is given under two of its names.
    #[error("both {first} and {second} are given")]
    Twice {
        /// One name.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A member that subscriptions do not have.
    #[error("unknown field {name:?}; allowed: eventType, oneOf")]
    UnknownMember {
        /// Its name.
        name: String,
    },
    /// `oneOf` is not a list.
    #[error("constraints expected to be a list of disjunctive clauses")]
    ClausesNotAList,
    /// `oneOf` alone has more than [`MAX_CLAUSES`].
    #[error("{given} disjunctive clauses given, at most {MAX_CLAUSES} are allowed")]
    ManyClauses {
        /// How many there are.
        given: usize,
    },
    /// A clause is not an object.
    #[error("a disjunctive clause expected to be a conjunction represented by a map")]
    ClauseNotAMap {
        /// The clause.
        clause: usize,
    },
    /// A field with an empty name.
    #[error("conjunctive clauses expected to be a map with nonempty strings as keys")]
    EmptyField {
        /// The clause.
        clause: usize,
    },
    /// A field that no extractor of the type defines: no event can match it.
    #[error("no extractor of this event-type defines the field {field:?}")]
    UnknownField {
        /// The clause.
        clause: usize,
        /// The field.
        field: String,
    },
    /// A null, which no event matches.
    #[error("the field {field:?} is null, which no event matches")]
    NullValue {
        /// The clause.
        clause: usize,
        /// The field.
        field: String,
    },
    /// A value longer than [`MAX_VALUE`].
    #[error("the value of the field {field:?} is longer than {MAX_VALUE} bytes")]
    LongValue {
        /// The clause.
        clause: usize,
        /// The field.
        field: String,
    },
}

impl SubscriptionFault {
    /// Returns the place in the subscription, as the end of a path.
    fn place(&self) -> String {
        match self {
            Self::NoEventType | Self::EmptyEventType | Self::LongEventType { .. } => "/eventType".to_owned(),
            Self::ClausesNotAList | Self::ManyClauses { .. } => "/oneOf".to_owned(),
            Self::ClauseNotAMap { clause }
            | Self::EmptyField { clause }
            | Self::UnknownField { clause, .. }
            | Self::NullValue { clause, .. }
            | Self::LongValue { clause, .. } => format!("/oneOf/{clause}"),
            Self::NotAMap | Self::Twice { .. } | Self::UnknownMember { .. } => String::new(),
        }
    }
}

/// Shortens a client's name for an error text: long enough to recognize, short enough for an
/// answer.
pub(super) fn shown(name: &str) -> String {
    const CHARACTERS: usize = 64;
    match name.char_indices().nth(CHARACTERS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}
