//! The JSON documents and files that operators write and change.
//!
//! The room knows the form of a document, where it is broken, and when it must be read again. It
//! does not know what a document means: the room that reads it does.

mod file;
mod json;
mod pointer;
mod watched;

pub use file::{MAX_DOCUMENT, MAX_KEYS, is_utf16, open_file, read_file, read_text};
pub use json::{JsonError, from_slice, from_str};
pub use pointer::child;
pub use watched::WatchedFiles;
