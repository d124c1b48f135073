//! The feeds over a node with sessions, and a verifier that follows a script.

mod events;
mod global;
mod http;
mod limits;
mod logouts;
mod polls;
mod properties;
mod world;
