//! JSON into Avro's binary encoding (Avro specification, "Binary encoding").

use std::collections::HashSet;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use crate::schema::{Decimal, Id, Kind, Record, Schema};
use crate::{DEEPEST, decimal, instant};

/// Limit of the encoded value, in bytes. Defaults can make a value longer than its JSON.
const LONGEST: usize = 64 << 20;

/// Limit of the values that are tried. A union tries its branches, which may contain unions: a
/// short document could take time that doubles with each level.
const MOST_TRIED: usize = 4_000_000;

/// Most characters of a name that an error repeats.
const SHOWN: usize = 100;

/// Most branches of a union that an error names.
const SHOWN_BRANCHES: usize = 8;

/// Base64 as RFC 4648, section 4, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value that does not fit the schema. The text is the JSON Pointer of the place and what is
/// wrong there. It repeats no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The way to the place, the last step first.
    path: Vec<Step>,
    reason: String,
    /// Whether other branches of a union must not be tried.
    is_final: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.path.iter().rev() {
            match step {
                Step::Member(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?,
                Step::Item(index) => write!(f, "/{index}")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Mismatch {}

impl Mismatch {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into(), is_final: false }
    }

    fn last(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::new(reason) }
    }

    fn within(mut self, name: &str) -> Self {
        let shown = name.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char });
        self.path.push(Step::Member(shown.take(SHOWN).collect()));
        self
    }
}

type Result<T> = std::result::Result<T, Mismatch>;

impl Schema {
    /// Encodes a value; lib.rs describes the mapping.
    ///
    /// # Errors
    /// Fails if the value does not fit the schema, is nested deeper than 100 levels, takes more
    /// than 64 MiB, or the branches of its unions need too many attempts.
    pub fn encode(&self, value: &Value) -> Result<Vec<u8>> {
        let mut encoded = Vec::new();
        self.encode_into(value, &mut encoded)?;
        Ok(encoded)
    }

    /// Appends an encoded value. If it fails, a part of the value may have been appended.
    pub(crate) fn encode_into(&self, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let mut encoder = Encoder { schema: self, out, tried: 0, form: Form::Json };
        encoder.value(self.root(), value, 0)
    }
}

/// How bytes are written in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As Base64.
    Json,
    /// In the default of a field, as text with a character for each byte.
    Default,
}

struct Encoder<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
    tried: usize,
    form: Form,
}

impl<'a> Encoder<'a> {
    fn value(&mut self, id: Id, value: &Value, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(Mismatch::last("nested deeper than 100 levels"));
        }
        self.tried += 1;
        if self.tried > MOST_TRIED {
            return Err(Mismatch::last("too many values, or branches of unions to try"));
        }
        let is_default = self.form == Form::Default;
        match (self.schema.kind(id), value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Bool(value)) => self.out.push(u8::from(*value)),
            (Kind::Int | Kind::Date, Value::Number(number)) => {
                let value: Option<i32> = number.as_i64().and_then(|value| value.try_into().ok());
                self.long(value.ok_or_else(|| not_integer(number, "int"))?.into());
            }
            (Kind::Long | Kind::Timestamp(_) | Kind::LocalTimestamp(_), Value::Number(number)) => {
                self.long(number.as_i64().ok_or_else(|| not_integer(number, "long"))?);
            }
            (Kind::Float, Value::Number(number)) => {
                #[expect(clippy::cast_possible_truncation, reason = "digits may be lost, as in any float")]
                let value = number.as_f64().map(|value| value as f32).filter(|value| value.is_finite());
                let value = value.ok_or_else(|| Mismatch::new("the number does not fit float"))?;
                self.out.extend(value.to_le_bytes());
            }
            (Kind::Double, Value::Number(number)) => {
                let value = number.as_f64().filter(|value| value.is_finite());
                let value = value.ok_or_else(|| Mismatch::new("the number does not fit double"))?;
                self.out.extend(value.to_le_bytes());
            }
            (Kind::String, Value::String(text)) => self.sized(text.as_bytes())?,
            (Kind::Bytes, Value::String(text)) => {
                let bytes = self.bytes(text)?;
                self.sized(&bytes)?;
            }
            (Kind::Fixed(size), Value::String(text)) => self.fixed(*size, text)?,
            (Kind::Date, Value::String(text)) => {
                let days = instant::parse_date(text).ok_or_else(|| self.expected(id))?;
                self.long(days.into());
            }
            (Kind::Timestamp(unit), Value::String(text)) => {
                let count = instant::parse_timestamp(text, *unit);
                self.long(count.ok_or_else(|| self.expected(id))?);
            }
            (Kind::LocalTimestamp(unit), Value::String(text)) => {
                let count = instant::parse_local(text, *unit);
                self.long(count.ok_or_else(|| self.expected(id))?);
            }
            (Kind::Decimal(Decimal { size: None, .. }) | Kind::UuidBytes, Value::String(text))
                if is_default =>
            {
                let bytes = self.bytes(text)?;
                self.sized(&bytes)?;
            }
            (Kind::Decimal(Decimal { size: Some(size), .. }), Value::String(text)) if is_default => {
                self.fixed(*size, text)?;
            }
            (Kind::UuidFixed, Value::String(text)) if is_default => self.fixed(16, text)?,
            (Kind::Decimal(decimal), Value::String(text)) => self.decimal(decimal, text)?,
            (Kind::Decimal(decimal), Value::Number(number)) => self.decimal(decimal, &number.to_string())?,
            (Kind::UuidText, Value::String(text)) => {
                Uuid::parse_str(text).map_err(|_| self.expected(id))?;
                self.sized(text.as_bytes())?;
            }
            (Kind::UuidBytes, Value::String(text)) => {
                let bytes = self.uuid(id, text)?;
                self.sized(&bytes)?;
            }
            (Kind::UuidFixed, Value::String(text)) => {
                let bytes = self.uuid(id, text)?;
                self.append(&bytes)?;
            }
            (Kind::Enum(r#enum), Value::String(text)) => {
                let number = r#enum.numbers.get(text);
                self.index(*number.ok_or_else(|| Mismatch::new("not a symbol of the enum"))?);
            }
            (Kind::Array(kind), Value::Array(items)) => self.items(*kind, items, depth)?,
            (Kind::Map(kind), Value::Object(entries)) => self.entries(*kind, entries, depth)?,
            (Kind::Record(record), Value::Object(members)) => self.record(record, members, depth)?,
            (Kind::Union(branches), value) => self.union(branches, value, depth)?,
            _ => return Err(self.expected(id)),
        }
        Ok(())
    }

    fn union(&mut self, branches: &[Id], value: &Value, depth: usize) -> Result<()> {
        let start = self.out.len();
        let mut closest: Option<Mismatch> = None;
        for (index, branch) in branches.iter().enumerate() {
            if matches!(self.schema.kind(*branch), Kind::Null) != value.is_null() {
                continue;
            }
            self.index(index);
            match self.value(*branch, value, depth) {
                Ok(()) => return Ok(()),
                Err(mismatch) if mismatch.is_final => return Err(mismatch),
                // The branch that fits the furthest is probably the one that was meant.
                Err(mismatch) => {
                    if closest.as_ref().is_none_or(|closest| closest.path.len() < mismatch.path.len()) {
                        closest = Some(mismatch);
                    }
                }
            }
            self.out.truncate(start);
        }
        Err(match closest {
            Some(mismatch) if !mismatch.path.is_empty() || branches.len() == 1 => mismatch,
            _ => {
                let names = branches.iter().take(SHOWN_BRANCHES).map(|branch| self.schema.name(*branch));
                let more = if branches.len() > SHOWN_BRANCHES { ", …" } else { "" };
                let names = names.collect::<Vec<_>>().join(", ");
                Mismatch::new(format!("fits no branch of the union ({names}{more})"))
            }
        })
    }

    fn record(&mut self, record: &'a Record, members: &Map<String, Value>, depth: usize) -> Result<()> {
        let mut known = 0;
        for field in &record.fields {
            let encoded = match (members.get(&field.name), &field.default) {
                (Some(value), _) => {
                    known += 1;
                    self.value(field.kind, value, depth + 1)
                }
                (None, Some(default)) => {
                    let form = std::mem::replace(&mut self.form, Form::Default);
                    let encoded = self.value(field.kind, default, depth + 1);
                    self.form = form;
                    encoded
                }
                (None, None) => Err(Mismatch::new("missing")),
            };
            encoded.map_err(|mismatch| mismatch.within(&field.name))?;
        }
        if known == members.len() {
            return Ok(());
        }
        let names: HashSet<&str> = record.fields.iter().map(|field| &*field.name).collect();
        match members.keys().find(|name| !names.contains(name.as_str())) {
            Some(name) => {
                let reason = format!("the record {} has no such field", record.name);
                Err(Mismatch::new(reason).within(name))
            }
            None => Ok(()),
        }
    }

    fn items(&mut self, kind: Id, items: &[Value], depth: usize) -> Result<()> {
        if !items.is_empty() {
            self.index(items.len());
        }
        for (index, item) in items.iter().enumerate() {
            self.value(kind, item, depth + 1).map_err(|mut mismatch| {
                mismatch.path.push(Step::Item(index));
                mismatch
            })?;
        }
        self.index(0);
        Ok(())
    }

    fn entries(&mut self, kind: Id, entries: &Map<String, Value>, depth: usize) -> Result<()> {
        if !entries.is_empty() {
            self.index(entries.len());
        }
        for (name, value) in entries {
            self.sized(name.as_bytes())?;
            self.value(kind, value, depth + 1).map_err(|mismatch| mismatch.within(name))?;
        }
        self.index(0);
        Ok(())
    }

    fn decimal(&mut self, decimal: &Decimal, text: &str) -> Result<()> {
        let bytes = decimal::parse(text, decimal.precision, decimal.scale).map_err(Mismatch::new)?;
        let Some(size) = decimal.size else { return self.sized(&bytes) };
        let missing = size.checked_sub(bytes.len());
        let missing = missing.ok_or_else(|| Mismatch::new("more digits than the decimal has"))?;
        let sign = if bytes[0] < 0x80 { 0 } else { 0xff };
        self.out.extend(std::iter::repeat_n(sign, missing));
        self.append(&bytes)
    }

    fn uuid(&self, id: Id, text: &str) -> Result<[u8; 16]> {
        let uuid = Uuid::parse_str(text).map_err(|_| self.expected(id))?;
        Ok(uuid.into_bytes())
    }

    fn fixed(&mut self, size: usize, text: &str) -> Result<()> {
        let bytes = self.bytes(text)?;
        if bytes.len() != size {
            return Err(Mismatch::new(format!("expected {size} bytes")));
        }
        self.append(&bytes)
    }

    fn bytes(&self, text: &str) -> Result<Vec<u8>> {
        match self.form {
            Form::Json => BASE64.decode(text).map_err(|_| Mismatch::new("expected Base64")),
            Form::Default => {
                let bytes = text.chars().map(u8::try_from).collect::<std::result::Result<_, _>>();
                bytes.map_err(|_| Mismatch::new("the default of the schema is not bytes"))
            }
        }
    }

    fn sized(&mut self, bytes: &[u8]) -> Result<()> {
        self.index(bytes.len());
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.out.len() + bytes.len() > LONGEST {
            return Err(Mismatch::last(format!("longer than {} MiB in Avro", LONGEST >> 20)));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn index(&mut self, index: usize) {
        self.long(i64::try_from(index).expect("nothing in memory is as long as that"));
    }

    /// Writes a zigzag number of variable length.
    fn long(&mut self, value: i64) {
        let mut zigzag = (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned();
        while zigzag > 0x7f {
            self.out.push(zigzag.to_le_bytes()[0] | 0x80);
            zigzag >>= 7;
        }
        self.out.push(zigzag.to_le_bytes()[0]);
    }

    fn expected(&self, id: Id) -> Mismatch {
        Mismatch::new(match self.schema.kind(id) {
            Kind::Record(_) | Kind::Map(_) => "expected an object".to_owned(),
            Kind::Array(_) => "expected an array".to_owned(),
            Kind::Enum(_) => "expected a symbol of the enum".to_owned(),
            _ => format!("expected {}", self.schema.name(id)),
        })
    }
}

fn not_integer(number: &Number, name: &str) -> Mismatch {
    if number.to_string().contains(['.', 'e', 'E']) {
        return Mismatch::new(format!("expected {name}, without decimal point or exponent"));
    }
    Mismatch::new(format!("the number does not fit {name}"))
}
