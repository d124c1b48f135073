//! What operators write: JSON.
//!
//! The room knows the form of a document and where it is broken. It does not know what a document means: that is known
//! by the room that reads it.

mod json;
mod pointer;

pub use json::{JsonError, from_slice, from_str};
pub use pointer::child;
