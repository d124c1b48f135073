//! Who is told what becomes of requests.

use super::access::list;
use super::reader::Reader;

/// Whether each request is a line in the log.
pub(super) fn read_request_log(reader: &mut Reader) -> bool {
    let places = reader.optional("REQUEST_LOG", |text, kind| {
        let places = list(text, &kind)?;
        match places.iter().find(|place| *place != "console") {
            Some(_) => Err(format!("allowed: {kind}")),
            None => Ok(places),
        }
    });
    places.is_some()
}
