//! Which names a schema may have.
//!
//! The parser takes the ASCII names of the specification only. Registries in Java check no
//! namespaces, and take letters of all alphabets, so they hold schemas with other names.

use std::sync::Once;

use apache_avro::AvroResult;
use apache_avro::error::Details;
use apache_avro::validator::{
    EnumSymbolNameValidator, RecordFieldNameValidator, SchemaNameValidator, SchemaNamespaceValidator,
    set_enum_symbol_name_validator, set_record_field_name_validator, set_schema_name_validator,
    set_schema_namespace_validator,
};

/// Limit of the characters of a name: the parser copies a namespace to each name within it.
const LONGEST: usize = 1_000;

/// The rule, as errors show it.
const RULE: &str = r"^\P{Cc}{1,1000}$";

/// Lets the parser take such names. Must be called before a schema is parsed.
pub(super) fn allow() {
    static ALLOWED: Once = Once::new();
    ALLOWED.call_once(|| {
        // The parser takes its rules once. If they were set before, those remain.
        let _: Result<_, _> = set_schema_name_validator(Box::new(Names));
        let _: Result<_, _> = set_schema_namespace_validator(Box::new(Names));
        let _: Result<_, _> = set_enum_symbol_name_validator(Box::new(Names));
        let _: Result<_, _> = set_record_field_name_validator(Box::new(Names));
    });
}

/// Takes all names that are not empty, not too long, and have no control characters.
struct Names;

impl SchemaNameValidator for Names {
    fn validate(&self, name: &str) -> AvroResult<usize> {
        let start = name.rfind('.').map_or(0, |dot| dot + 1);
        if is_allowed(name) && start < name.len() {
            return Ok(start);
        }
        Err(Details::InvalidSchemaName(shown(name), RULE).into())
    }
}

impl SchemaNamespaceValidator for Names {
    fn validate(&self, name: &str) -> AvroResult<()> {
        let refused = || Details::InvalidNamespace(shown(name), RULE).into();
        is_allowed(name).then_some(()).ok_or_else(refused)
    }
}

impl EnumSymbolNameValidator for Names {
    fn validate(&self, name: &str) -> AvroResult<()> {
        let refused = || Details::EnumSymbolName(shown(name)).into();
        is_allowed(name).then_some(()).ok_or_else(refused)
    }
}

impl RecordFieldNameValidator for Names {
    fn validate(&self, name: &str) -> AvroResult<()> {
        let refused = || Details::FieldName(shown(name)).into();
        is_allowed(name).then_some(()).ok_or_else(refused)
    }
}

fn is_allowed(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_control) && name.chars().count() <= LONGEST
}

fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}
