//! What the body of a request says, as RIG reads it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

/// The members of a body. A body without a type, and JSON that is no object, have none (RIG).
///
/// # Errors
/// The body is not what it is announced as, or is neither JSON nor a form.
pub(crate) fn params(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, StatusCode> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(Map::new()) };
    let content_type = content_type.to_str().unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" if body.is_empty() => Ok(Map::new()),
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Ok(Map::new()),
            Err(_) => Err(StatusCode::BAD_REQUEST),
        },
        "application/x-www-form-urlencoded" => Ok(form_urlencoded::parse(body)
            .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
            .collect()),
        _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}
