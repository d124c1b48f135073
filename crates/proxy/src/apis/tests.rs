//! Changes to definitions, and what is kept of them.
