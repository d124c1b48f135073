//! The APIs that requests are forwarded to.

use document::JsonError;
use proxy::Definitions;

use super::access::json_or_file;
use super::reader::Reader;

const NAME: &str = "PROXY_CONFIG_FILE";

/// A variable that a definition names with `use_env`.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The definitions, from the setting itself or from the file that it names. Each fault is a mistake of its own.
pub(super) fn read_apis(reader: &mut Reader) -> Definitions {
    let list = reader.optional(NAME, |text, kind| {
        let json = json_or_file(text, &kind)?;
        document::from_str(&json).map_err(|error| match error {
            JsonError::Syntax(error) => format!("not JSON: {error}"),
            duplicate => duplicate.to_string(),
        })
    });
    let Some(list) = list else { return Definitions::default() };
    match Definitions::parse(&list, &variable) {
        Ok((definitions, warnings)) => {
            for warning in warnings {
                reader.warn(format!("{NAME} {}", warning.0));
            }
            definitions
        }
        Err(faults) => {
            for fault in faults {
                reader.mistake(NAME, fault.to_string());
            }
            Definitions::default()
        }
    }
}
