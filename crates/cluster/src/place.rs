//! Where an operation stands in the stream.

pub use session::{Epoch, Place, Position};
