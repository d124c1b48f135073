//! The HTTP binding of CloudEvents: determines which of the three content modes a request uses, and
//! reads its events.
//!
//! | `content-type` | `ce-specversion` | mode |
//! | --- | --- | --- |
//! | `application/cloudevents+json` | any | structured |
//! | `application/cloudevents-batch+json` | any | batched |
//! | any other `application/cloudevents…` | any | none: 415 |
//! | `application/json` | no | structured, as in RIG |
//! | anything, or none | yes | binary |
//! | anything else, or none | no | none: 400 |

pub(crate) mod binary;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;

use crate::document::ExtensionNames;
use crate::error::{EventError, shown};
use crate::event::Event;
use crate::syntax::MediaType;

/// Why a request or a message is refused as an event. The text can be used as the body of the
/// answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An event format other than JSON.
    #[error("The given content-type {0} is currently not supported; application/cloudevents+json is.")]
    UnsupportedFormat(String),
    /// Nothing declares what the body is.
    #[error(
        "The content-type header is missing: use application/cloudevents+json, application/cloudevents-batch+json or \
         application/json, or say in ce- headers what the event is."
    )]
    NoContentType,
    /// The header is unreadable, or given twice.
    #[error("The content-type header {0}.")]
    BadContentType(&'static str),
    /// Neither a content type of structured mode nor the header that announces binary mode.
    #[error(
        "Your request looks like it's using the CloudEvents binary content mode, but the ce-specversion header is \
         missing."
    )]
    NoSpecVersion,
    /// Binary mode with a version for which it is not supported.
    #[error(
        "Your request looks like it's using the CloudEvents binary content mode, but the ce-specversion header is \
         {0:?} instead of \"0.2\", \"0.3\" or \"1.0\"."
    )]
    UnknownSpecVersion(String),
    /// A `ce-` header that cannot be an attribute.
    #[error("The header {name} {problem}.")]
    BadHeader {
        /// The header, shortened.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Binary mode, and the content type says JSON, but the body is not JSON.
    #[error("The request body is {0}, but its content-type says that it is JSON.")]
    BadData(EventError),
    /// Binary mode, and the headers do not make an event.
    #[error(
        "Your request looks like it's using the CloudEvents binary content mode but can't be parsed: {0}. Each \
         attribute goes into a header of its name with the prefix ce-."
    )]
    BadHeaders(EventError),
    /// Structured or batched mode, and the body is not an event.
    #[error("The request body does not look like a CloudEvent: {0}")]
    BadBody(EventError),
    /// A message of a broker in structured mode, and its value is not an event.
    #[error("The value of the message does not look like a CloudEvent: {0}")]
    BadMessage(EventError),
    /// A message of a broker in binary mode, and its headers do not make an event.
    #[error(
        "The headers of the message do not make a CloudEvent: {0}. Each attribute goes into a header of its name \
         with the prefix ce_."
    )]
    BadMessageHeaders(EventError),
    /// A message that is announced as Avro, without the prefix that names its schema.
    #[error(
        "The content-type header says that the value of the message is Avro, but it does not begin with the id of \
         a schema, as values of a schema registry do."
    )]
    NoAvroSchema,
}

impl DecodeError {
    /// Returns 415 for an event format that is not supported, 400 for everything else.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnsupportedFormat(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoContentType
            | Self::BadContentType(_)
            | Self::NoSpecVersion
            | Self::UnknownSpecVersion(_)
            | Self::BadHeader { .. }
            | Self::BadData(_)
            | Self::BadHeaders(_)
            | Self::BadBody(_)
            | Self::BadMessage(_)
            | Self::BadMessageHeaders(_)
            | Self::NoAvroSchema => StatusCode::BAD_REQUEST,
        }
    }
}

/// The events of a request, and how its publisher sent them.
#[derive(Clone, Debug)]
pub struct Submission {
    /// One in structured and binary mode, any number, even none, in batched mode.
    pub events: Vec<Event>,
    /// `true` in batched mode.
    is_batch: bool,
}

impl Submission {
    /// Returns what was accepted, for the answer to the publisher: a batch as a list, whatever its
    /// length, and a single event unchanged.
    pub fn accepted(&self) -> Bytes {
        match &self.events[..] {
            [event] if !self.is_batch => event.json().clone(),
            events => {
                let all: Vec<&[u8]> = events.iter().map(|event| &event.json()[..]).collect();
                [b"[", all.join(&b","[..]).as_slice(), b"]"].concat().into()
            }
        }
    }
}

/// Reads the events of a request.
///
/// # Errors
/// Fails if the headers match no mode, or the body is not what they announce. Returns either all
/// events or none.
pub fn decode(headers: &HeaderMap, body: Bytes, names: ExtensionNames) -> Result<Submission, DecodeError> {
    let content_type = content_type(headers)?;
    let binary = headers.contains_key("ce-specversion");
    let essence = content_type.as_ref().map(|(parsed, _)| parsed.essence.as_str());
    let event = match essence {
        Some("application/cloudevents+json") => structured(body, names),
        Some("application/cloudevents-batch+json") => {
            let events = Event::batch_from_json(unmarked(body), names).map_err(DecodeError::BadBody)?;
            return Ok(Submission { events, is_batch: true });
        }
        Some(other) if is_event_format(other) => {
            Err(DecodeError::UnsupportedFormat(shown(other).into_owned()))
        }
        Some("application/json") if !binary => structured(body, names),
        _ if binary => binary::decode(headers, content_type, &body, names),
        None => Err(DecodeError::NoContentType),
        Some(_) => Err(DecodeError::NoSpecVersion),
    };
    Ok(Submission { events: vec![event?], is_batch: false })
}

/// Returns JSON without the byte order mark that some clients put before it (RFC 8259, section
/// 8.1).
pub fn unmarked(json: Bytes) -> Bytes {
    let start = json.len() - json::without_mark(&json).len();
    json.slice(start..)
}

pub(crate) fn structured(body: Bytes, names: ExtensionNames) -> Result<Event, DecodeError> {
    Event::from_json_with(unmarked(body), names).map_err(DecodeError::BadBody)
}

/// Returns `true` for `application/cloudevents`, alone or with `+format`, for one event or a batch
/// (HTTP binding, section 3).
pub(crate) fn is_event_format(essence: &str) -> bool {
    let rest = essence.strip_prefix("application/cloudevents");
    let rest = rest.map(|rest| rest.strip_prefix("-batch").unwrap_or(rest));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// Returns the content type, parsed and as it was written.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<Option<(MediaType, &str)>, DecodeError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(DecodeError::BadContentType("is given more than once"));
    }
    let text = value.to_str().ok();
    let parsed = text.and_then(|text| Some((MediaType::parse(text)?, text)));
    parsed.map(Some).ok_or(DecodeError::BadContentType("is not a media type, like application/json"))
}
