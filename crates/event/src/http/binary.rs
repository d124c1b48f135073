//! Binary mode: the attributes are in `ce-` headers, and the body is `data`. Produces the event in
//! JSON format with its members sorted by name, as RIG does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::DecodeError;
use crate::document::{self, ExtensionNames, Skimmed};
use crate::error::{EventError, shown};
use crate::event::Event;
use crate::syntax::{MediaType, unquote};
use crate::version::Version;

/// Attributes of 0.2 and 0.3 that are always strings. An extension that looks like JSON is read as
/// JSON.
const STRINGS: [&str; 8] =
    ["datacontentencoding", "id", "schemaurl", "source", "specversion", "subject", "time", "type"];

/// A member of the JSON event.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonMember<'a> {
    Text(Cow<'a, str>),
    Json(Value),
    Raw(&'a RawValue),
}

type JsonMembers<'a> = BTreeMap<&'a str, JsonMember<'a>>;

pub(crate) fn decode(
    headers: &HeaderMap,
    content_type: Option<(MediaType, &str)>,
    body: &[u8],
    names: ExtensionNames,
) -> Result<Event, DecodeError> {
    let version = version(headers)?;
    let mut members = attributes(headers, version)?;
    add_data(&mut members, version, content_type.as_ref().map(|(parsed, _)| parsed), body)?;
    if let Some((parsed, text)) = content_type {
        match version {
            // RIG leaves this out, since it is implied by the JSON format.
            Version::V0_2 if parsed.essence == "application/json" => {}
            Version::V0_2 => drop(members.insert("contenttype", JsonMember::Text(text.into()))),
            _ => drop(members.insert("datacontenttype", JsonMember::Text(text.into()))),
        }
    }
    let json = serde_json::to_vec(&members).expect("names are strings and the members JSON");
    Event::from_json_with(json.into(), names).map_err(DecodeError::BadHeaders)
}

/// 0.1 has its own binary mode with other headers, which RIG never supported.
fn version(headers: &HeaderMap) -> Result<Version, DecodeError> {
    let value = headers.get("ce-specversion").ok_or(DecodeError::NoSpecVersion)?;
    match value.as_bytes() {
        b"0.2" => Ok(Version::V0_2),
        b"0.3" => Ok(Version::V0_3),
        b"1.0" => Ok(Version::V1_0),
        other => {
            let text = shown(&String::from_utf8_lossy(other)).into_owned();
            Err(DecodeError::UnknownSpecVersion(text))
        }
    }
}

fn attributes(headers: &HeaderMap, version: Version) -> Result<JsonMembers<'_>, DecodeError> {
    let mut members = JsonMembers::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else { continue };
        let bad = |problem| DecodeError::BadHeader { name: shown(header.as_str()).into_owned(), problem };
        match name {
            "" => return Err(bad("names no attribute")),
            "data" | "data_base64" => return Err(bad("is not allowed: the body is the data")),
            // HTTP binding, section 3.1.1.
            "datacontenttype" | "contenttype" => {
                return Err(bad("is not allowed: content-type says what the data is"));
            }
            _ => {}
        }
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("is not UTF-8"))?;
        let member = match version {
            Version::V1_0 => JsonMember::Text(unescaped(text).ok_or_else(|| bad(MALFORMED))?),
            _ => lenient(name, text),
        };
        if members.insert(name, member).is_some() {
            return Err(bad("is given more than once"));
        }
    }
    Ok(members)
}

const MALFORMED: &str = "is neither plain nor quoted text whose percent-encoding is UTF-8";

/// Decodes a header value (HTTP binding 1.0.2, section 3.1.3.2): one round of unquoting, one round
/// of percent-decoding.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    let Some(quoted) = text.strip_prefix('"') else {
        return percent_decode_str(text).decode_utf8().ok();
    };
    let (value, rest) = unquote(quoted)?;
    let decoded = percent_decode_str(&value).decode_utf8().ok()?;
    rest.is_empty().then(|| Cow::Owned(decoded.into_owned()))
}

/// Reads a header value as RIG does (HTTP binding 0.2, section 3.1.3.2): the value of an extension
/// is JSON, or else a string.
fn lenient<'a>(name: &str, text: &'a str) -> JsonMember<'a> {
    if STRINGS.contains(&name) {
        return JsonMember::Text(text.into());
    }
    serde_json::from_str(text).map_or(JsonMember::Text(text.into()), JsonMember::Json)
}

/// Adds `data`, unless the body is empty. It is the unchanged JSON if the content type says JSON,
/// or is missing and the body is JSON (data without a type is JSON in the JSON format). Otherwise
/// it is a string, or Base64 if it cannot be a string.
fn add_data<'a>(
    members: &mut JsonMembers<'a>,
    version: Version,
    content_type: Option<&MediaType>,
    body: &'a [u8],
) -> Result<(), DecodeError> {
    if body.is_empty() {
        return Ok(());
    }
    let json = match content_type {
        Some(content_type) if content_type.is_json() => Some(json(body).map_err(DecodeError::BadData)?),
        Some(_) => None,
        None => json(body).ok(),
    };
    if let Some(json) = json {
        members.insert("data", JsonMember::Raw(json));
        return Ok(());
    }
    let utf8 = content_type.is_none_or(MediaType::is_utf8);
    if let Some(text) = std::str::from_utf8(body).ok().filter(|_| utf8) {
        members.insert("data", JsonMember::Text(text.into()));
        return Ok(());
    }
    let base64 = JsonMember::Text(STANDARD.encode(body).into());
    if version == Version::V1_0 {
        members.insert("data_base64", base64);
    } else {
        // 0.3, section "datacontentencoding". 0.2 has no such attribute, so an extension of this
        // name is used, since nothing else would distinguish Base64 from text.
        members.insert("data", base64);
        members.insert("datacontentencoding", JsonMember::Text("base64".into()));
    }
    Ok(())
}

fn json(body: &[u8]) -> Result<&RawValue, EventError> {
    let text = document::text(json::without_mark(body))?;
    let checked = serde_json::from_str::<Skimmed>(text).and_then(|_| serde_json::from_str(text));
    checked.map_err(|error| EventError::NotJson(error.to_string()))
}
