//! Errors of events. Every text names the attribute; none repeats more of the input than a name.

use std::borrow::Cow;

use crate::version::Version;

/// Why a document is not a CloudEvent. The text can be used as the body of a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The document is empty.
    #[error("the body is empty")]
    Empty,
    /// Not UTF-8, which JSON must be (RFC 8259, section 8.1).
    #[error("not valid JSON: the byte at offset {at} is not UTF-8")]
    NotUtf8 {
        /// Offset of the first offending byte.
        at: usize,
    },
    /// Not JSON: truncated, garbage before or after, nested too deeply, a number beyond any double.
    #[error("not valid JSON: {0}")]
    NotJson(String),
    /// JSON, but not an object.
    #[error("a CloudEvent is a JSON object, not {found}")]
    NotAnObject {
        /// What was there instead.
        found: &'static str,
    },
    /// JSON, but not a list, although a batch was announced.
    #[error("a batch of CloudEvents is a JSON list, not {found}")]
    NotAList {
        /// What was there instead.
        found: &'static str,
    },
    /// The same member twice, so that its value is ambiguous (RFC 8259, section 4).
    #[error("{name} is given more than once")]
    Duplicate {
        /// The member.
        name: Cow<'static, str>,
    },
    /// A required attribute is missing, or null where null means missing.
    #[error("{name} is missing")]
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// An attribute of the wrong JSON type.
    #[error("{name} must be {expected}, not {found}")]
    WrongType {
        /// The attribute.
        name: Cow<'static, str>,
        /// What the version of CloudEvents allows.
        expected: &'static str,
        /// What was there instead.
        found: &'static str,
    },
    /// An attribute that must not be empty is empty.
    #[error("{name} must not be empty")]
    EmptyAttribute {
        /// The attribute.
        name: &'static str,
    },
    /// An attribute exceeds its limit.
    #[error("{name} is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// The attribute.
        name: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A version of CloudEvents that is not supported.
    #[error("{name} must be {expected}, not {value:?}")]
    UnknownVersion {
        /// `specversion` or `cloudEventsVersion`.
        name: &'static str,
        /// The versions that this attribute can name.
        expected: &'static str,
        /// The given value, shortened.
        value: String,
    },
    /// An attribute whose text violates the rules of its type.
    #[error("{name} must be {expected}")]
    Malformed {
        /// The attribute.
        name: Cow<'static, str>,
        /// The type, and where its grammar is defined.
        expected: &'static str,
    },
    /// CloudEvents 1.0, naming conventions: lower-case letters and digits of ASCII.
    #[error(
        "\"{name}\" is not an attribute name of CloudEvents 1.0 (only a-z and 0-9; EVENTS_LENIENT admits others)"
    )]
    AttributeName {
        /// The name, shortened and escaped.
        name: Cow<'static, str>,
    },
    /// CloudEvents 1.0, JSON format, section 3.1.1: both contain the data.
    #[error("data and data_base64 exclude each other")]
    BothData,
    /// One event of a batch is invalid; the batch is refused as a whole.
    #[error("event {index} of the batch: {error}")]
    InBatch {
        /// Position in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: Box<EventError>,
    },
    /// CloudEvents 1.0, HTTP binding, section 3.3.2: one `specversion` per batch.
    #[error(
        "event {index} of the batch: specversion is {found}, but all events of a batch must have the same, \
         and the first has {first}"
    )]
    MixedVersions {
        /// Position in the batch, from 0.
        index: usize,
        /// The version of event 0.
        first: Version,
        /// The version of this one.
        found: Version,
    },
}

/// Returns a received name for an error text: shortened, and without control characters.
pub(crate) fn shown(name: &str) -> Cow<'static, str> {
    const LIMIT: usize = 64;
    let mut shown: String = name.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if name.chars().nth(LIMIT).is_some() {
        shown.push('…');
    }
    Cow::Owned(shown)
}
