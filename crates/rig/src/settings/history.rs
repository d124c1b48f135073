//! The settings of the history: which events are kept for clients that come back.

use std::ops::RangeInclusive;
use std::time::Duration;

use ::history::Bounds;
use event::MAX_TYPE;

use super::kind::{ValueKind, parse_time};
use super::reader::Reader;

/// How long events can be kept.
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// Reads what is kept of recent events; `None` if nothing is.
pub(super) fn read_history(reader: &mut Reader) -> Option<Bounds> {
    let age = reader.value("HISTORY", |text, _| match text.eq_ignore_ascii_case("off") {
        true => Some(None),
        false => parse_time(text).filter(|age| AGE.contains(age)).map(Some),
    });
    let bytes = reader.bytes("HISTORY_BYTES");
    let excluded = reader.optional("HISTORY_EXCLUDE", types).unwrap_or_default();
    // Each event takes some of the bytes, so that these limit the events too.
    age.map(|age| Bounds { age, bytes, events: usize::MAX, excluded })
}

/// Parses a list of event types.
fn types(text: &str, kind: ValueKind) -> Result<Vec<String>, String> {
    let refused = |at: usize, why: &str| Err(format!("entry {} {why}; expected {kind}", at + 1));
    let entries = text.split(',').map(str::trim).enumerate();
    let checked = entries.map(|(at, entry)| match entry {
        "" => refused(at, "is empty"),
        entry if entry.contains(char::is_control) => refused(at, "has a control character"),
        entry if entry.len() > MAX_TYPE => refused(at, "is longer than the type of any event"),
        entry => Ok(entry.to_owned()),
    });
    checked.collect()
}
