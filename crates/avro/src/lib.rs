//! Avro in the wire format of schema registries, in and out, and the client of the registry.
//!
//! The room knows the wire format (a zero byte, the id of the schema in four bytes, the Avro
//! binary encoding), the mapping between Avro and JSON, and the registry's HTTP interface. It does
//! not know events or brokers.
//!
//! # Avro as JSON
//! | Avro | JSON |
//! | --- | --- |
//! | `null`, `boolean`, `string` | the same |
//! | `int`, `long` | a number, with all digits |
//! | `float`, `double` | a number; `null` if it is not finite, since JSON has no such number |
//! | `bytes`, `fixed` | text in Base64 (RFC 4648, section 4) |
//! | `enum` | the symbol, as text |
//! | `array`, `map`, `record` | an array, objects |
//! | union | the value of its branch, without the name of the branch |
//! | `date` | text, `2026-01-31` |
//! | `timestamp-millis`, `-micros`, `-nanos` | text as in RFC 3339, `2026-01-31T12:00:00.5Z` |
//! | `local-timestamp-…` | the same without an offset, `2026-01-31T12:00:00.5` |
//! | `decimal` | text, with as many decimal places as the scale says, `-12.50` |
//! | `uuid` | text with hyphens; in `string`, the text as it is |
//! | all other logical types | as the type beneath: `time-millis` is a number, `duration` Base64 |
//!
//! Dates and timestamps outside of the years 0 to 9999, which RFC 3339 cannot express, are numbers
//! as the type beneath.
//!
//! The other direction takes the same forms. Besides, dates and timestamps may be numbers as the
//! type beneath, decimals may be numbers, and Base64 may come without padding. A timestamp that is
//! more precise than its type is rounded down. Integers have no decimal point and no exponent.
//! `null` in a union is its `null`; any other value is encoded by the first branch that it fits, in
//! the order of the schema. An absent member of a record takes the default of its field, and is an
//! error if there is none; so is a member that the record does not have.

mod answer;
mod client;
mod config;
mod decimal;
mod decode;
mod encode;
mod error;
mod instant;
mod registry;
mod schema;

#[doc(hidden)]
pub use answer::{Answer, Failure, Reference};
pub use config::{ConfigError, RegistryConfig};
pub use decode::Malformed;
pub use encode::Mismatch;
pub use error::{DecodeError, EncodeError};
pub use registry::Registry;
pub use schema::{Schema, SchemaError};

/// Limit of the levels of nested values, in both directions. A document of `serde_json` may have
/// 128 levels, and values are members of events.
const DEEPEST: usize = 100;
