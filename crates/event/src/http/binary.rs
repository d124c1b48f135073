//! Binary mode: the attributes are in headers, and the body is `data`. Produces the event in JSON
//! format with its members sorted by name, as RIG does. The bindings differ in a few rules, which
//! [`Binding`] has.

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

/// Whose rules of binary mode apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// HTTP, and NATS, whose rules are the same. Values of 1.0 are percent-encoded, data must be
    /// what the content type says.
    Http,
    /// Kafka. Values are UTF-8 as they are. Data that should be JSON and is not becomes a string.
    Kafka,
}

impl Binding {
    /// Returns the member that the value of a header stands for. An error completes the sentence
    /// "The header x …".
    fn member<'a>(self, version: Version, name: &str, text: &'a str) -> Result<JsonMember<'a>, &'static str> {
        let verbatim = JsonMember::Text(text.into());
        match (self, version) {
            (Self::Http, Version::V1_0) => unescaped(text).map(JsonMember::Text).ok_or(MALFORMED),
            // Extensions of 1.0 cannot be objects or lists.
            (Self::Kafka, Version::V1_0) => Ok(verbatim),
            _ if STRINGS.contains(&name) => Ok(verbatim),
            // As RIG does (HTTP binding 0.2, section 3.1.3.2): JSON, or else a string.
            (Self::Http, _) => Ok(serde_json::from_str(text).map_or(verbatim, JsonMember::Json)),
            // RIG also reads "007" as a number, and "true" as a boolean.
            (Self::Kafka, _) if !text.trim_start().starts_with(['{', '[']) => Ok(verbatim),
            (Self::Kafka, _) => Ok(json(text.as_bytes()).map_or(verbatim, JsonMember::raw)),
        }
    }
}

/// A member of the JSON event.
#[derive(Serialize)]
#[serde(untagged)]
enum JsonMember<'a> {
    Text(Cow<'a, str>),
    Json(Value),
    Raw(Cow<'a, RawValue>),
}

impl<'a> JsonMember<'a> {
    fn raw(json: &'a RawValue) -> Self {
        Self::Raw(Cow::Borrowed(json))
    }

    fn into_owned(self) -> JsonMember<'static> {
        match self {
            Self::Text(text) => JsonMember::Text(Cow::Owned(text.into_owned())),
            Self::Json(value) => JsonMember::Json(value),
            Self::Raw(json) => JsonMember::Raw(Cow::Owned(json.into_owned())),
        }
    }
}

/// Reads the event of a request. Its attributes have the prefix `ce-`.
pub(crate) fn decode(
    headers: &HeaderMap,
    content_type: Option<(MediaType, &str)>,
    body: &[u8],
    names: ExtensionNames,
) -> Result<Event, DecodeError> {
    let given = headers.get("ce-specversion").ok_or(DecodeError::NoSpecVersion)?.as_bytes();
    let version = version(given).ok_or_else(|| DecodeError::UnknownSpecVersion(shown_bytes(given)))?;
    let mut members = Members::new(Binding::Http, version);
    for (header, value) in headers {
        if let Some(name) = header.as_str().strip_prefix("ce-") {
            members.add_attribute(header.as_str(), name, value.as_bytes())?;
        }
    }
    members.add_body(content_type.as_ref().map(|(parsed, _)| parsed), body)?;
    if let Some((parsed, text)) = content_type {
        // RIG leaves this out, since it is implied by the JSON format.
        if version != Version::V0_2 || parsed.essence != "application/json" {
            members.add_content_type(text);
        }
    }
    members.into_event(names).map_err(DecodeError::BadHeaders)
}

/// Returns the version that a header names. 0.1 has its own binary mode with other headers, which
/// RIG never supported.
pub(crate) fn version(value: &[u8]) -> Option<Version> {
    match value {
        b"0.2" => Some(Version::V0_2),
        b"0.3" => Some(Version::V0_3),
        b"1.0" => Some(Version::V1_0),
        _ => None,
    }
}

/// Returns a received value for an error text.
pub(crate) fn shown_bytes(value: &[u8]) -> String {
    shown(&String::from_utf8_lossy(value)).into_owned()
}

/// The members of the event, sorted by name.
pub(crate) struct Members<'a> {
    binding: Binding,
    version: Version,
    members: BTreeMap<Cow<'a, str>, JsonMember<'a>>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(binding: Binding, version: Version) -> Self {
        Self { binding, version, members: BTreeMap::new() }
    }

    /// Adds the attribute of a header. `name` is the header's name without its prefix.
    pub(crate) fn add_attribute(
        &mut self,
        header: &str,
        name: &'a str,
        value: &'a [u8],
    ) -> Result<(), DecodeError> {
        let bad = |problem| DecodeError::BadHeader { name: shown(header).into_owned(), problem };
        match (name, self.binding) {
            ("", _) => return Err(bad("names no attribute")),
            ("data" | "data_base64", Binding::Http) => {
                return Err(bad("is not allowed: the body is the data"));
            }
            ("data" | "data_base64", Binding::Kafka) => {
                return Err(bad("is not allowed: the value of the message is the data"));
            }
            // HTTP binding, section 3.1.1.
            ("datacontenttype" | "contenttype", _) => {
                return Err(bad("is not allowed: content-type says what the data is"));
            }
            _ => {}
        }
        let text = std::str::from_utf8(value).map_err(|_| bad("is not UTF-8"))?;
        let member = self.binding.member(self.version, name, text).map_err(bad)?;
        match self.members.insert(name.into(), member) {
            Some(_) => Err(bad("is given more than once")),
            None => Ok(()),
        }
    }

    /// Adds `data`, unless the body is empty. It is the unchanged JSON if the content type says
    /// JSON, or is missing and the body is JSON (data without a type is JSON in the JSON format).
    /// Otherwise it is a string, or Base64 if it cannot be a string.
    pub(crate) fn add_body(
        &mut self,
        content_type: Option<&MediaType>,
        body: &'a [u8],
    ) -> Result<(), DecodeError> {
        if body.is_empty() {
            return Ok(());
        }
        let json = match content_type {
            Some(parsed) if !parsed.is_json() => None,
            Some(_) if self.binding == Binding::Http => Some(json(body).map_err(DecodeError::BadData)?),
            _ => json(body).ok(),
        };
        if let Some(json) = json {
            self.members.insert("data".into(), JsonMember::raw(json));
            return Ok(());
        }
        let utf8 = content_type.is_none_or(MediaType::is_utf8);
        if let Some(text) = std::str::from_utf8(body).ok().filter(|_| utf8) {
            self.members.insert("data".into(), JsonMember::Text(text.into()));
            return Ok(());
        }
        let base64 = JsonMember::Text(STANDARD.encode(body).into());
        if self.version == Version::V1_0 {
            self.members.insert("data_base64".into(), base64);
        } else {
            // 0.3, section "datacontentencoding". 0.2 has no such attribute, so an extension of
            // this name is used, since nothing else would distinguish Base64 from text.
            self.members.insert("data".into(), base64);
            self.members.insert("datacontentencoding".into(), JsonMember::Text("base64".into()));
        }
        Ok(())
    }

    /// Adds `data` that was decoded from another format.
    pub(crate) fn add_data(&mut self, data: Value) {
        self.members.insert("data".into(), JsonMember::Json(data));
    }

    /// Adds what the data is, under the name that the version has for it.
    pub(crate) fn add_content_type(&mut self, text: &'a str) {
        let name = if self.version == Version::V0_2 { "contenttype" } else { "datacontenttype" };
        self.members.insert(name.into(), JsonMember::Text(text.into()));
    }

    /// Copies what is borrowed from the headers and the body.
    pub(crate) fn into_owned(self) -> Members<'static> {
        let members = self.members.into_iter();
        let members =
            members.map(|(name, member)| (Cow::Owned(name.into_owned()), member.into_owned())).collect();
        Members { binding: self.binding, version: self.version, members }
    }

    pub(crate) fn into_event(self, names: ExtensionNames) -> Result<Event, EventError> {
        let json = serde_json::to_vec(&self.members).expect("names are strings and the members JSON");
        Event::from_json_with(json.into(), names)
    }
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

fn json(body: &[u8]) -> Result<&RawValue, EventError> {
    let text = document::text(json::without_mark(body))?;
    let checked = serde_json::from_str::<Skimmed>(text).and_then(|_| serde_json::from_str(text));
    checked.map_err(|error| EventError::NotJson(error.to_string()))
}
