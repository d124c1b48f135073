//! The answer of a transmitter (RFC 8936, section 2.3).

use serde_json::{Map, Value};

/// Events that were fetched.
#[derive(Debug)]
pub(super) struct Events {
    /// The events, by `jti`.
    pub(super) sets: Map<String, Value>,
    /// Whether more wait.
    pub(super) is_more: bool,
}

impl Events {
    /// Reads an answer. The text of an error contains nothing of it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let Ok(Value::Object(mut answer)) = serde_json::from_slice(body) else {
            return Err("the answer of the transmitter is no JSON object".to_owned());
        };
        let is_more = answer.get("moreAvailable").and_then(Value::as_bool).unwrap_or_default();
        match answer.remove("sets") {
            Some(Value::Object(sets)) => Ok(Self { sets, is_more }),
            // Some leave it out if there are none.
            None | Some(Value::Null) => Ok(Self { sets: Map::new(), is_more: false }),
            Some(_) => Err("sets of the transmitter's answer is no object".to_owned()),
        }
    }
}
