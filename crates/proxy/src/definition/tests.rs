//! Definitions, right and wrong.
