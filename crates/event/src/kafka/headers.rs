//! The headers that the binding knows, without those that others override.

use std::collections::BTreeMap;

use crate::error::shown;
use crate::http::DecodeError;

/// What events need from the headers of a message.
pub(super) struct Headers<'h> {
    /// `true` if the message is an answer.
    pub(super) is_answer: bool,
    /// `content-type`, as it came; `None` if it is blank.
    pub(super) content_type: Option<&'h str>,
    /// The event's own content type, which some producers send as an attribute.
    data_type: Option<Attribute<'h>>,
    /// By name of the attribute, without a prefix.
    attributes: BTreeMap<&'h str, Attribute<'h>>,
}

struct Attribute<'h> {
    header: &'h str,
    /// `None` if it is null, which overrides earlier headers too.
    value: Option<&'h [u8]>,
}

impl<'h> Headers<'h> {
    /// Chooses the headers that count: the last one of a name, and `ce_`, the prefix of the
    /// binding, before `ce-`, the prefix of RIG 2. One with the value null counts as missing.
    pub(super) fn read(
        headers: impl IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> Result<Self, DecodeError> {
        let mut is_answer = false;
        let mut content_type = None;
        let mut attributes = BTreeMap::<_, Attribute<'h>>::new();
        for (header, value) in headers {
            if header == "rig-correlation" {
                is_answer = true;
            } else if header.eq_ignore_ascii_case("content-type") {
                content_type = value;
            } else if let Some(name) = header.strip_prefix("ce_") {
                attributes.insert(name, Attribute { header, value });
            } else if let Some(name) = header.strip_prefix("ce-")
                && attributes.get(name).is_none_or(|known| known.header.starts_with("ce-"))
            {
                attributes.insert(name, Attribute { header, value });
            }
        }
        attributes.retain(|_, attribute| attribute.value.is_some());
        // RIG knows the last one too.
        let data_types =
            ["datacontenttype", "contenttype", "contentType"].map(|name| attributes.remove(name));
        let data_type = data_types.into_iter().flatten().next();
        // The headers of an answer mean something else.
        let content_type = content_type.filter(|_| !is_answer);
        let content_type = content_type.map_or(Ok(None), |value| text("content-type", value))?;
        Ok(Self { is_answer, content_type, data_type, attributes })
    }

    /// Returns the event's own content type, as it came; `None` if it is blank.
    pub(super) fn data_type(&self) -> Result<Option<&'h str>, DecodeError> {
        match &self.data_type {
            Some(Attribute { header, value: Some(value) }) => text(header, value),
            _ => Ok(None),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// Returns `true` if there are any attributes besides the content type.
    pub(super) fn has_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Returns `true` if no attribute is missing that an event must have.
    pub(super) fn are_complete(&self) -> bool {
        ["specversion", "type", "id", "source"].into_iter().all(|name| self.has(name))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'h [u8]> {
        self.attributes.get(name)?.value
    }

    /// Returns the attributes with their headers, names and values.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'h str, &'h str, &'h [u8])> {
        self.attributes
            .iter()
            .filter_map(|(name, attribute)| Some((attribute.header, *name, attribute.value?)))
    }
}

/// Returns a value as text, `None` if it is blank.
fn text<'h>(header: &str, value: &'h [u8]) -> Result<Option<&'h str>, DecodeError> {
    let text = std::str::from_utf8(value)
        .map_err(|_| DecodeError::BadHeader { name: shown(header).into_owned(), problem: "is not UTF-8" })?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}
