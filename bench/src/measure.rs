//! The measurements. Each starts a server of its own, so that none leaves anything to the next.

pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod start;
