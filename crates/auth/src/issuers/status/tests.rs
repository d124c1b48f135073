mod check;
mod list;
mod list_token;
mod loss;
mod place;
mod revoked;
mod room;
mod tasks;

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Map, Value, json};

use super::StatusList;

/// The list of most tests.
const URI: &str = "https://id.example/lists/1";

/// Compresses bytes as a list is.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Encodes statuses of this number of bits.
fn encoded(bits: u8, statuses: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; (statuses.len() * usize::from(bits)).div_ceil(8)];
    for (index, status) in statuses.iter().enumerate() {
        let bit = index * usize::from(bits);
        bytes[bit / 8] |= status << (bit % 8);
    }
    bytes
}

/// The claims of a list of these bytes, still unpacked.
fn claims_of(bits: impl Into<Value>, bytes: &[u8]) -> Map<String, Value> {
    claims_of_text(bits, &URL_SAFE_NO_PAD.encode(packed(bytes)))
}

fn claims_of_text(bits: impl Into<Value>, text: &str) -> Map<String, Value> {
    let list = json!({"status_list": {"bits": bits.into(), "lst": text}});
    list.as_object().unwrap().clone()
}

fn list(bits: u8, statuses: &[u8]) -> StatusList {
    StatusList::parse(&claims_of(bits, &encoded(bits, statuses))).unwrap()
}
