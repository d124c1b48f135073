//! JSON values compared by what they mean (RFC 8259): `1` equals `1.0` and `1e0`, and no number
//! equals another one that is merely close, whatever its size.
//!
//! The room knows values and when two are equal. It does not know where they come from or what they
//! decide.

mod key;
mod number;
mod terminal;

pub use key::{ValueKey, equal};
pub use number::whole;
pub use terminal::{escape_json, escape_text};

/// Returns a document without the byte order mark that some editors and clients put before UTF-8. A
/// reader may ignore it (RFC 8259, section 8.1).
pub fn without_mark(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document)
}

/// The name that serde_json gives to the text of a number beyond 64 bits, or with a fraction, where
/// it hands it to a visitor: as a map with this one member (feature `arbitrary_precision`).
pub const NUMBER: &str = "$serde_json::private::Number";
