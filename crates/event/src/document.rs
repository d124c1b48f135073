//! One pass over an event's JSON, which extracts the attributes and checks `data` without building
//! it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{EventError, shown};

/// The members of an event, before its version is known: `specversion` may come last.
#[derive(Default)]
pub(crate) struct Document<'a> {
    pub(crate) specversion: Option<Attribute<'a>>,
    pub(crate) id: Option<Attribute<'a>>,
    pub(crate) event_type: Option<Attribute<'a>>,
    pub(crate) source: Option<Attribute<'a>>,
    pub(crate) time: Option<Attribute<'a>>,
    pub(crate) subject: Option<Attribute<'a>>,
    pub(crate) datacontenttype: Option<Attribute<'a>>,
    pub(crate) dataschema: Option<Attribute<'a>>,
    pub(crate) data_base64: Option<Attribute<'a>>,
    /// The names of version 0.1.
    pub(crate) cloud_events_version: Option<Attribute<'a>>,
    pub(crate) old_event_type: Option<Attribute<'a>>,
    pub(crate) old_event_id: Option<Attribute<'a>>,
    /// `true` if `data` is present and not null.
    pub(crate) has_data: bool,
    /// Which names an extension may have in 1.0.
    pub(crate) names: ExtensionNames,
    /// The first extension that 1.0 would refuse. The other versions ignore it.
    pub(crate) extension_fault: Option<EventError>,
}

/// Which names extensions may have in version 1.0. The other versions do not check them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtensionNames {
    /// Lower-case letters and digits of ASCII (CloudEvents 1.0.2, "Naming conventions").
    #[default]
    Conventional,
    /// Any except the empty one, such as `trace_id`, since some producers ignore the convention.
    Any,
}

/// An attribute's value, as far as the rules of CloudEvents distinguish values.
pub(crate) enum Attribute<'a> {
    Null,
    Boolean,
    Integer(i64),
    /// A number that is not an `i64`.
    Number,
    Text(Cow<'a, str>),
    Object,
    List,
}

impl<'a> Document<'a> {
    pub(crate) fn read(text: &'a str, names: ExtensionNames) -> Result<Self, EventError> {
        let mut reader = AttributeReader::default();
        reader.document.names = names;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = deserializer.deserialize_any(&mut reader).and_then(|()| deserializer.end());
        match parsed {
            Ok(()) => {}
            Err(error) if error.is_data() && kind_of(text) != "an object" => {
                return Err(EventError::NotAnObject { found: kind_of(text) });
            }
            Err(error) => return Err(EventError::NotJson(error.to_string())),
        }
        match reader.duplicate {
            Some(name) => Err(EventError::Duplicate { name }),
            None => Ok(reader.document),
        }
    }

    /// Returns the slot of a member that the rules define.
    fn slot(&mut self, name: &str) -> Option<&mut Option<Attribute<'a>>> {
        Some(match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "type" => &mut self.event_type,
            "source" => &mut self.source,
            "time" => &mut self.time,
            "subject" => &mut self.subject,
            "datacontenttype" => &mut self.datacontenttype,
            "dataschema" => &mut self.dataschema,
            "data_base64" => &mut self.data_base64,
            "cloudEventsVersion" => &mut self.cloud_events_version,
            "eventType" => &mut self.old_event_type,
            "eventID" => &mut self.old_event_id,
            _ => return None,
        })
    }
}

impl Attribute<'_> {
    /// Names the kind of the value, for error texts.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Integer(_) | Self::Number => "a number",
            Self::Text(_) => "a string",
            Self::Object => "an object",
            Self::List => "a list",
        }
    }

    /// Returns the fault for which 1.0 would refuse an extension: its JSON types are strings,
    /// booleans and 32-bit integers.
    fn extension_fault(&self, name: &str, names: ExtensionNames) -> Option<EventError> {
        let is_conventional = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || (names == ExtensionNames::Conventional && !name.bytes().all(is_conventional)) {
            return Some(EventError::AttributeName { name: shown(name) });
        }
        let found = match self {
            Self::Null | Self::Boolean => return None,
            Self::Text(text) if crate::syntax::is_attribute_text(text) => return None,
            Self::Text(_) => {
                let expected = "text without control characters";
                return Some(EventError::Malformed { name: shown(name), expected });
            }
            Self::Integer(value) if i32::try_from(*value).is_ok() => return None,
            Self::Integer(_) | Self::Number => "another number",
            Self::Object | Self::List => self.kind(),
        };
        let expected = "a string, a boolean or a 32-bit integer";
        Some(EventError::WrongType { name: shown(name), expected, found })
    }
}

/// Returns the JSON as text. Fails if it is not UTF-8 or empty.
pub(crate) fn text(json: &[u8]) -> Result<&str, EventError> {
    if json.is_empty() {
        return Err(EventError::Empty);
    }
    std::str::from_utf8(json).map_err(|error| EventError::NotUtf8 { at: error.valid_up_to() })
}

/// Names the kind of a JSON text by its first character.
pub(crate) fn kind_of(text: &str) -> &'static str {
    match text.trim_start().bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[derive(Default)]
struct AttributeReader<'a> {
    document: Document<'a>,
    extensions: HashSet<Cow<'a, str>>,
    saw_data: bool,
    duplicate: Option<Cow<'static, str>>,
}

impl<'a> Visitor<'a> for &mut AttributeReader<'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(MemberName(name)) = members.next_key()? {
            let known = if name == "data" {
                self.document.has_data = !members.next_value::<Skimmed>()?.null;
                std::mem::replace(&mut self.saw_data, true)
            } else if let Some(slot) = self.document.slot(&name) {
                slot.replace(members.next_value()?).is_some()
            } else {
                let value: Attribute<'a> = members.next_value()?;
                if self.document.extension_fault.is_none() {
                    self.document.extension_fault = value.extension_fault(&name, self.document.names);
                }
                !self.extensions.insert(name.clone())
            };
            if known {
                self.duplicate.get_or_insert_with(|| shown(&name));
            }
        }
        Ok(())
    }
}

/// A member's name, borrowed if it has no escapes in the JSON.
struct MemberName<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for MemberName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = MemberName<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Attribute<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AttributeVisitor;
        impl<'de> Visitor<'de> for AttributeVisitor {
            type Value = Attribute<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Attribute::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Attribute::Boolean)
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Attribute::Integer(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(value).map_or(Attribute::Number, Attribute::Integer))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Attribute::Number)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Attribute::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Attribute::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                SkimVisitor.visit_seq(list).map(|_| Attribute::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                Ok(if skim_map(object)? { Attribute::Number } else { Attribute::Object })
            }
        }
        deserializer.deserialize_any(AttributeVisitor)
    }
}

/// JSON that was checked and discarded, without building anything. Unlike serde's `IgnoredAny`, it
/// refuses what `serde_json::Value` refuses (nesting beyond 128 levels, lone surrogates), and
/// numbers that readers would parse as infinite (RFC 7493, section 2.2), so that no accepted event
/// causes errors later.
pub(crate) struct Skimmed {
    null: bool,
}

struct SkimVisitor;

impl<'de> Deserialize<'de> for Skimmed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SkimVisitor)
    }
}

impl<'de> Visitor<'de> for SkimVisitor {
    type Value = Skimmed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Skimmed, E> {
        Ok(Skimmed { null: true })
    }
    fn visit_bool<E>(self, _: bool) -> Result<Skimmed, E> {
        Ok(Skimmed { null: false })
    }
    fn visit_i64<E>(self, _: i64) -> Result<Skimmed, E> {
        Ok(Skimmed { null: false })
    }
    fn visit_u64<E>(self, _: u64) -> Result<Skimmed, E> {
        Ok(Skimmed { null: false })
    }
    fn visit_f64<E>(self, _: f64) -> Result<Skimmed, E> {
        Ok(Skimmed { null: false })
    }
    fn visit_str<E>(self, _: &str) -> Result<Skimmed, E> {
        Ok(Skimmed { null: false })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Skimmed, A::Error> {
        while list.next_element::<Skimmed>()?.is_some() {}
        Ok(Skimmed { null: false })
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Skimmed, A::Error> {
        skim_map(object).map(|_| Skimmed { null: false })
    }
}

/// Skims an object. Returns `true` if it was serde_json's representation of a number.
fn skim_map<'de, A: MapAccess<'de>>(mut object: A) -> Result<bool, A::Error> {
    let mut number = false;
    while let Some(SkimmedName { is_number }) = object.next_key()? {
        number |= is_number;
        if is_number {
            object.next_value::<FiniteNumber>()?;
        } else {
            object.next_value::<Skimmed>()?;
        }
    }
    Ok(number)
}

/// A name that was checked and discarded.
struct SkimmedName {
    is_number: bool,
}

impl<'de> Deserialize<'de> for SkimmedName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = SkimmedName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, name: &str) -> Result<SkimmedName, E> {
                Ok(SkimmedName { is_number: name == json::NUMBER })
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The text of a number within the range of a double.
struct FiniteNumber;

impl<'de> Deserialize<'de> for FiniteNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = FiniteNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FiniteNumber, E> {
                match text.parse() {
                    Ok(number) if f64::is_finite(number) => Ok(FiniteNumber),
                    _ => Err(E::custom("number out of range")),
                }
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}
