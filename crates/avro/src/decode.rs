//! Avro's binary encoding into JSON (Avro specification, "Binary encoding").
//!
//! The library's decoder is not used: it takes a text that is cut off as null, and its recursion
//! has no limit, so that a message could overflow the stack.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::schema::{Decimal, Id, Kind, Record, Schema};
use crate::{DEEPEST, decimal, instant};

/// Memory that the value of any message may take, in bytes.
const FOR_ANY_MESSAGE: usize = 64 << 10;

/// Memory that each byte of a message adds to that. Values without any bytes (`null`, empty
/// records) would otherwise let a short message become an endless value; small numbers in small
/// records take about this much.
const FOR_EACH_BYTE: usize = 1024;

/// Limit of the memory of a value, whatever the length of its message.
const FOR_ALL: usize = 256 << 20;

/// What a value takes in an array or object, at least.
const FOR_A_VALUE: usize = 64;

/// What an object takes with its first member, which allocates room for several.
const FOR_AN_OBJECT: usize = 640;

/// A message that its schema does not fit. The text repeats nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct Malformed {
    /// The byte of the Avro encoding, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

type Result<T> = std::result::Result<T, Malformed>;

impl Schema {
    /// Decodes a value; lib.rs describes the mapping.
    ///
    /// # Errors
    /// Fails if the bytes are not exactly one value of this schema, are nested deeper than 100
    /// levels, or the value takes more memory than is in proportion to the bytes.
    pub fn decode(&self, bytes: &[u8]) -> Result<Value> {
        let budget = (FOR_ANY_MESSAGE + bytes.len().saturating_mul(FOR_EACH_BYTE)).min(FOR_ALL);
        let mut decoder = Decoder { schema: self, bytes, at: 0, budget };
        let value = decoder.value(self.root(), 0)?;
        if decoder.at < bytes.len() {
            return Err(decoder.wrong("more bytes than the schema has values"));
        }
        Ok(value)
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
    /// Memory that may still be taken, in bytes.
    budget: usize,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value> {
        if depth > DEEPEST {
            return Err(self.wrong("nested deeper than 100 levels"));
        }
        self.pay(FOR_A_VALUE)?;
        Ok(match self.schema.kind(id) {
            Kind::Null => Value::Null,
            Kind::Boolean => match self.take(1)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err(self.wrong("a boolean is neither 0 nor 1")),
            },
            Kind::Int => self.int()?.into(),
            Kind::Long => self.long()?.into(),
            Kind::Float => f32::from_le_bytes(self.array()?).into(),
            Kind::Double => f64::from_le_bytes(self.array()?).into(),
            Kind::Bytes => {
                let bytes = self.sized()?;
                self.base64(bytes)?
            }
            Kind::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.base64(bytes)?
            }
            Kind::String | Kind::UuidText => self.text()?.into(),
            Kind::Date => {
                let days = self.int()?;
                instant::date(days).map_or_else(|| days.into(), Value::from)
            }
            Kind::Timestamp(unit) => {
                let count = self.long()?;
                instant::timestamp(count, *unit).map_or_else(|| count.into(), Value::from)
            }
            Kind::LocalTimestamp(unit) => {
                let count = self.long()?;
                instant::local(count, *unit).map_or_else(|| count.into(), Value::from)
            }
            Kind::Decimal(decimal) => self.decimal(decimal)?,
            Kind::UuidBytes => {
                let bytes = self.sized()?;
                self.uuid(bytes)?
            }
            Kind::UuidFixed => {
                let bytes = self.take(16)?;
                self.uuid(bytes)?
            }
            Kind::Enum(r#enum) => {
                let symbol = self.index(&r#enum.symbols, "an enum has no symbol of this number")?;
                self.pay(symbol.len())?;
                symbol.as_str().into()
            }
            Kind::Union(branches) => {
                let branch = *self.index(branches, "a union has no branch of this number")?;
                // Not a level of the JSON: unions are unwrapped and do not contain one another.
                self.value(branch, depth)?
            }
            Kind::Array(items) => self.items(*items, depth)?,
            Kind::Map(values) => self.entries(*values, depth)?,
            Kind::Record(record) => self.record(record, depth)?,
        })
    }

    fn record(&mut self, record: &'a Record, depth: usize) -> Result<Value> {
        if !record.fields.is_empty() {
            self.pay(FOR_AN_OBJECT)?;
        }
        let mut members = Map::new();
        for field in &record.fields {
            self.pay(FOR_A_VALUE + field.name.len())?;
            members.insert(field.name.clone(), self.value(field.kind, depth + 1)?);
        }
        Ok(Value::Object(members))
    }

    fn items(&mut self, kind: Id, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(Value::Array(items));
            }
            for _ in 0..count {
                items.push(self.value(kind, depth + 1)?);
            }
        }
    }

    fn entries(&mut self, kind: Id, depth: usize) -> Result<Value> {
        let mut entries = Map::new();
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(Value::Object(entries));
            }
            if entries.is_empty() {
                self.pay(FOR_AN_OBJECT)?;
            }
            for _ in 0..count {
                self.pay(FOR_A_VALUE)?;
                let name = self.text()?.to_owned();
                entries.insert(name, self.value(kind, depth + 1)?);
            }
        }
    }

    fn decimal(&mut self, decimal: &Decimal) -> Result<Value> {
        let bytes = match decimal.size {
            Some(size) => self.take(size)?,
            None => self.sized()?,
        };
        self.pay(decimal.scale + bytes.len().saturating_mul(3))?;
        let text =
            decimal::format(bytes, decimal.scale).ok_or_else(|| self.wrong("a decimal is too long"))?;
        Ok(text.into())
    }

    fn uuid(&self, bytes: &[u8]) -> Result<Value> {
        let uuid = Uuid::from_slice(bytes).map_err(|_| self.wrong("a UUID has not 16 bytes"))?;
        Ok(uuid.to_string().into())
    }

    fn base64(&mut self, bytes: &[u8]) -> Result<Value> {
        self.pay(bytes.len().saturating_mul(2))?;
        Ok(STANDARD.encode(bytes).into())
    }

    /// Reads the number of items in the next block; zero after the last one.
    fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            // The length of the block in bytes follows, for readers that skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    /// Reads the index of one of these.
    fn index<T>(&mut self, of: &'a [T], reason: &'static str) -> Result<&'a T> {
        let index = self.int()?;
        usize::try_from(index).ok().and_then(|index| of.get(index)).ok_or_else(|| self.wrong(reason))
    }

    fn text(&mut self) -> Result<&'a str> {
        let bytes = self.sized()?;
        self.pay(bytes.len())?;
        str::from_utf8(bytes).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    /// Reads bytes with their length before them.
    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| self.wrong("a length is negative"))?;
        self.take(length)
    }

    fn int(&mut self) -> Result<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| self.wrong("a number is larger than an int"))
    }

    /// Reads a zigzag number of variable length.
    fn long(&mut self) -> Result<i64> {
        let mut zigzag = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                break;
            }
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(self.wrong("a number is larger than a long"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, _) = self.bytes[self.at..].split_first_chunk().ok_or_else(|| self.cut())?;
        self.at += N;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, _) = self.bytes[self.at..].split_at_checked(length).ok_or_else(|| self.cut())?;
        self.at += length;
        Ok(bytes)
    }

    fn pay(&mut self, memory: usize) -> Result<()> {
        let rest = self.budget.checked_sub(memory);
        self.budget = rest.ok_or_else(|| self.wrong("a value out of proportion to the message"))?;
        Ok(())
    }

    fn cut(&self) -> Malformed {
        self.wrong("cut off")
    }

    fn wrong(&self, reason: &'static str) -> Malformed {
        Malformed { at: self.at, reason }
    }
}

#[cfg(test)]
mod tests;
