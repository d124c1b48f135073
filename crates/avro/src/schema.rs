//! Schemas, in the form that values are decoded and encoded by.
//!
//! The library parses a schema; what it parsed is then flattened into a list of types that refer
//! to each other by their index. Names are resolved once, and recursive types need no special case.

mod names;

use std::collections::HashMap;

use apache_avro::Schema as Parsed;
use apache_avro::schema::{InnerDecimalSchema, RecordSchema, UuidSchema};
use serde_json::{Map, Value, json};

use crate::decimal;
use crate::instant::Unit;

/// Limit of the length of a schema's text with all that it refers to, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;

/// Limit of the branches of a union: the parser compares each with all the others.
const MOST_BRANCHES: usize = 1_000;

/// Limit of an error text of the parser, in characters: it may repeat parts of the schema.
const LONGEST_REASON: usize = 300;

/// The attribute that hides the default of a field from the parser, which would resolve it by
/// recursion without a limit.
const DEFAULT: &str = "rig-default";

/// A parsed schema.
#[derive(Debug)]
pub struct Schema {
    kinds: Vec<Kind>,
    root: Id,
    weight: usize,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

/// The index of a type.
pub(crate) type Id = usize;

/// A type.
#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Date,
    Timestamp(Unit),
    LocalTimestamp(Unit),
    Decimal(Decimal),
    /// A UUID as text.
    UuidText,
    /// A UUID as `bytes`.
    UuidBytes,
    /// A UUID as `fixed`.
    UuidFixed,
    /// The number of bytes.
    Fixed(usize),
    Enum(Enum),
    /// The type of the items.
    Array(Id),
    /// The type of the values.
    Map(Id),
    /// The branches.
    Union(Vec<Id>),
    Record(Record),
}

/// An enumeration.
#[derive(Debug)]
pub(crate) struct Enum {
    /// The symbols, in the order of their numbers.
    pub(crate) symbols: Vec<String>,
    /// The number of each symbol.
    pub(crate) numbers: HashMap<String, usize>,
}

/// A decimal number.
#[derive(Debug)]
pub(crate) struct Decimal {
    /// The number of digits.
    pub(crate) precision: usize,
    /// The number of decimal places.
    pub(crate) scale: usize,
    /// The number of bytes if it is a `fixed`; at most `decimal::MOST_BYTES`.
    pub(crate) size: Option<usize>,
}

/// A record.
#[derive(Debug)]
pub(crate) struct Record {
    /// The name, with its namespace.
    pub(crate) name: String,
    /// The fields, in the order of the encoding.
    pub(crate) fields: Vec<Field>,
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Id,
    /// The default, as the schema writes it: bytes are text with a character for each.
    pub(crate) default: Option<Value>,
}

impl Schema {
    /// Parses a schema. `references` are the texts of the schemas that it refers to, each after
    /// those that it refers to itself.
    ///
    /// # Errors
    /// Fails if a text is not a schema, a name is unknown or defined twice, or a limit is exceeded.
    pub fn parse(text: &str, references: &[impl AsRef<str>]) -> Result<Self, SchemaError> {
        let texts = || references.iter().map(AsRef::as_ref).chain([text]);
        let length: usize = texts().map(str::len).sum();
        if length > LONGEST {
            return Err(SchemaError(format!("longer than {LONGEST} bytes, with its references")));
        }
        // All schemas become fields of one record, since the parser's own list of schemas is parsed
        // in no particular order.
        let fields = texts().enumerate().map(|(index, text)| {
            let schema = serde_json::from_str(text).map_err(|_| SchemaError("not JSON".to_owned()))?;
            Ok(json!({"name": format!("schema{index}"), "type": pruned(schema)?}))
        });
        let fields: Vec<Value> = fields.collect::<Result<_, SchemaError>>()?;
        names::allow();
        let all = json!({"type": "record", "name": "rig_all_schemas", "fields": fields});
        let parsed = Parsed::parse(&all).map_err(|error| {
            let reason: String = error.to_string().chars().take(LONGEST_REASON).collect();
            SchemaError(reason)
        })?;
        let Parsed::Record(RecordSchema { fields, .. }) = &parsed else {
            return Err(SchemaError("not a schema".to_owned()));
        };
        let mut flattening = Flattening::default();
        let mut root = 0;
        for field in fields {
            root = flattening.add(&field.schema)?;
        }
        let kinds = flattening.finish()?;
        let weight = length + kinds.len() * size_of::<Kind>();
        Ok(Self { kinds, root, weight })
    }

    /// Returns the type of the whole value.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// Returns the type at an index.
    pub(crate) fn kind(&self, id: Id) -> &Kind {
        &self.kinds[id]
    }

    /// Returns about how much memory it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Names a type for an error.
    pub(crate) fn name(&self, id: Id) -> &str {
        match self.kind(id) {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes | Kind::Fixed(_) => "Base64",
            Kind::String => "string",
            Kind::Date => "date",
            Kind::Timestamp(_) => "timestamp",
            Kind::LocalTimestamp(_) => "local timestamp",
            Kind::Decimal(_) => "decimal",
            Kind::UuidText | Kind::UuidBytes | Kind::UuidFixed => "UUID",
            Kind::Enum(_) => "enum",
            Kind::Array(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
            Kind::Record(record) => &record.name,
        }
    }
}

/// Removes from a schema what values do not depend on. Aliases, documentation and other attributes
/// would be copied by the parser with each level, and defaults would be resolved by it.
fn pruned(schema: Value) -> Result<Value, SchemaError> {
    Ok(match schema {
        Value::Array(branches) if branches.len() > MOST_BRANCHES => {
            return Err(SchemaError(format!("a union has more than {MOST_BRANCHES} branches")));
        }
        Value::Array(branches) => branches.into_iter().map(pruned).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, value) in members {
                let value = match &*name {
                    "type" | "items" | "values" => pruned(value)?,
                    "fields" => fields(value)?,
                    "name" | "namespace" | "symbols" | "size" | "logicalType" | "precision" | "scale" => {
                        value
                    }
                    _ => continue,
                };
                kept.insert(name, value);
            }
            Value::Object(kept)
        }
        other => other,
    })
}

fn fields(fields: Value) -> Result<Value, SchemaError> {
    let Value::Array(fields) = fields else {
        return Err(SchemaError("the fields of a record are not an array".to_owned()));
    };
    let fields = fields.into_iter().map(|field| {
        let Value::Object(mut field) = field else {
            return Err(SchemaError("a field of a record is not an object".to_owned()));
        };
        let mut kept = Map::new();
        kept.extend(field.remove_entry("name"));
        if let Some((name, schema)) = field.remove_entry("type") {
            kept.insert(name, pruned(schema)?);
        }
        kept.extend(field.remove("default").map(|default| (DEFAULT.to_owned(), default)));
        Ok(Value::Object(kept))
    });
    fields.collect()
}

/// Types that are being collected.
#[derive(Default)]
struct Flattening {
    /// `None` until the type is defined.
    kinds: Vec<Option<Kind>>,
    named: HashMap<String, Id>,
}

impl Flattening {
    /// Adds a type and all within it. References are not followed, so that the recursion is only as
    /// deep as the text.
    fn add(&mut self, schema: &Parsed) -> Result<Id, SchemaError> {
        if let Parsed::Ref { name } = schema {
            return Ok(self.named(name.as_ref()));
        }
        let id = match schema.name() {
            Some(name) => self.named(name.as_ref()),
            None => self.reserve(),
        };
        if self.kinds[id].is_some() {
            return Err(SchemaError(format!("{:?} is defined twice", schema.name())));
        }
        // A placeholder: a definition of the same name within this one must be noticed.
        self.kinds[id] = Some(Kind::Null);
        self.kinds[id] = Some(self.kind(schema)?);
        Ok(id)
    }

    fn kind(&mut self, schema: &Parsed) -> Result<Kind, SchemaError> {
        Ok(match schema {
            Parsed::Null => Kind::Null,
            Parsed::Boolean => Kind::Boolean,
            Parsed::Int | Parsed::TimeMillis => Kind::Int,
            Parsed::Long | Parsed::TimeMicros => Kind::Long,
            Parsed::Float => Kind::Float,
            Parsed::Double => Kind::Double,
            Parsed::Bytes | Parsed::BigDecimal => Kind::Bytes,
            Parsed::String => Kind::String,
            Parsed::Date => Kind::Date,
            Parsed::TimestampMillis => Kind::Timestamp(Unit::Millis),
            Parsed::TimestampMicros => Kind::Timestamp(Unit::Micros),
            Parsed::TimestampNanos => Kind::Timestamp(Unit::Nanos),
            Parsed::LocalTimestampMillis => Kind::LocalTimestamp(Unit::Millis),
            Parsed::LocalTimestampMicros => Kind::LocalTimestamp(Unit::Micros),
            Parsed::LocalTimestampNanos => Kind::LocalTimestamp(Unit::Nanos),
            Parsed::Uuid(UuidSchema::String) => Kind::UuidText,
            Parsed::Uuid(UuidSchema::Bytes) => Kind::UuidBytes,
            Parsed::Uuid(UuidSchema::Fixed(_)) => Kind::UuidFixed,
            Parsed::Fixed(fixed) | Parsed::Duration(fixed) => Kind::Fixed(fixed.size),
            Parsed::Enum(schema) => {
                let symbols = schema.symbols.clone();
                let numbers = symbols.iter().cloned().zip(0..).collect();
                Kind::Enum(Enum { symbols, numbers })
            }
            Parsed::Array(array) => Kind::Array(self.add(&array.items)?),
            Parsed::Map(map) => Kind::Map(self.add(&map.types)?),
            Parsed::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch));
                Kind::Union(branches.collect::<Result<_, _>>()?)
            }
            Parsed::Decimal(schema) => {
                let size = match &schema.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                };
                if schema.scale > decimal::MOST_DIGITS || size.is_some_and(|size| size > decimal::MOST_BYTES)
                {
                    return Err(SchemaError("a decimal has too many digits".to_owned()));
                }
                Kind::Decimal(Decimal { precision: schema.precision, scale: schema.scale, size })
            }
            Parsed::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    let kind = self.add(&field.schema)?;
                    let default = field.custom_attributes.get(DEFAULT).cloned();
                    Ok(Field { name: field.name.clone(), kind, default })
                });
                let fields = fields.collect::<Result<_, SchemaError>>()?;
                Kind::Record(Record { name: record.name.as_ref().to_owned(), fields })
            }
            Parsed::Ref { .. } => return Err(SchemaError("a reference without a type".to_owned())),
        })
    }

    fn reserve(&mut self) -> Id {
        self.kinds.push(None);
        self.kinds.len() - 1
    }

    fn named(&mut self, name: &str) -> Id {
        if let Some(id) = self.named.get(name) {
            return *id;
        }
        let id = self.reserve();
        self.named.insert(name.to_owned(), id);
        id
    }

    fn finish(self) -> Result<Vec<Kind>, SchemaError> {
        let kinds: Option<Vec<_>> = self.kinds.into_iter().collect();
        kinds.ok_or_else(|| SchemaError("a name is not defined".to_owned()))
    }
}

#[cfg(test)]
mod tests;
