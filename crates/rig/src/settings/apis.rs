//! The APIs that requests are forwarded to.

use std::path::Path;

use auth::Cors;
use document::JsonError;
use proxy::{Broker, Definitions, Warning};

use super::NamedFile;
use super::access::{file_of, json_or_file};
use super::reader::Reader;

const NAME: &str = "PROXY_CONFIG_FILE";

/// Returns a variable that a definition names with `use_env`.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the definitions, from the value itself or from the file that it names. Each fault is a
/// separate mistake.
pub(super) fn read_apis(reader: &mut Reader, cors: &Cors) -> (Definitions, Option<NamedFile>) {
    let file = file_of(reader, NAME);
    let json = reader.optional(NAME, |text, kind| json_or_file(text, &kind));
    let Some(json) = json else { return (Definitions::default(), file) };
    let definitions = match definitions(&json) {
        Ok((definitions, warnings)) => {
            let of_cookies = definitions.warnings_of_cookies().filter(|_| cors.is_any());
            for warning in warnings.into_iter().chain(of_cookies) {
                reader.warn(format!("{NAME} {}", warning.0));
            }
            definitions
        }
        Err(faults) => {
            for fault in faults {
                reader.mistake(NAME, fault);
            }
            Definitions::default()
        }
    };
    (definitions, file)
}

/// Notes the endpoints that need a broker which is not configured.
pub(super) fn check_brokers(reader: &mut Reader, definitions: &Definitions, has: impl Fn(Broker) -> bool) {
    for fault in definitions.without_broker(has) {
        reader.mistake(NAME, fault.to_string());
    }
}

/// Reads the definitions in a file.
///
/// # Errors
/// Fails with all faults, each on a line.
pub(crate) fn definitions_in(file: &Path) -> Result<(Definitions, Vec<Warning>), String> {
    let json = document::read_text(file).map_err(|error| error.to_string())?;
    definitions(&json).map_err(|faults| faults.join("; "))
}

fn definitions(json: &str) -> Result<(Definitions, Vec<Warning>), Vec<String>> {
    let list = document::from_str(json).map_err(|error| {
        vec![match error {
            JsonError::Syntax(error) => format!("not JSON: {error}"),
            duplicate => duplicate.to_string(),
        }]
    })?;
    let parsed = Definitions::parse(&list, &variable);
    parsed.map_err(|faults| faults.iter().map(ToString::to_string).collect())
}
