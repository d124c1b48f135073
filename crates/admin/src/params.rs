//! Parses the members of request bodies as RIG does.

use document::JsonError;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is neither JSON nor a form.
    MediaType,
    /// It is malformed for its media type.
    Malformed,
    /// A member is given twice; holds its position.
    Duplicate(String),
}

/// Returns the members of a body. As in RIG, a body without a media type, and JSON that is not an
/// object, have none.
///
/// # Errors
/// Fails if the body is neither JSON nor a form, is malformed, or has a member twice.
pub(crate) fn params(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, Unread> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(Map::new()) };
    match essence(content_type).to_ascii_lowercase().as_slice() {
        b"application/json" if body.is_empty() => Ok(Map::new()),
        b"application/json" => match document::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Ok(Map::new()),
            Err(JsonError::Syntax(_)) => Err(Unread::Malformed),
            Err(error @ JsonError::Duplicate { .. }) => Err(Unread::Duplicate(error.to_string())),
        },
        b"application/x-www-form-urlencoded" => form(body),
        _ => Err(Unread::MediaType),
    }
}

/// Returns the media type without its parameters, which may contain any bytes.
pub(crate) fn essence(content_type: &HeaderValue) -> &[u8] {
    content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Returns the fields of a form, each given once.
fn form(body: &[u8]) -> Result<Map<String, Value>, Unread> {
    let mut fields = Map::new();
    for (key, value) in form_urlencoded::parse(body) {
        match fields.entry(&*key) {
            Entry::Vacant(entry) => drop(entry.insert(value.into())),
            Entry::Occupied(_) => {
                return Err(Unread::Duplicate(format!(
                    "{}: given more than once",
                    document::child("", &key)
                )));
            }
        }
    }
    Ok(fields)
}
