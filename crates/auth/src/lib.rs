//! Turns credentials into verified claims, and checks who may subscribe and publish.
//!
//! The room knows tokens, keys, RIG's two checks, and which page a request comes from. It does not
//! know sessions: whether the session of a valid token is revoked is the session room's to say.

mod check;
mod cors;
mod credentials;
mod key;
mod keys;
mod opaque;
mod origin;
mod verifier;

pub use check::{Check, CheckError, CheckRequest, Denied, ExternalCheck};
pub use cors::{Cors, CorsError};
pub use credentials::{
    Credential, TokenPlace, TokenSources, bearer_tokens, cookies, parameters, strip_cookies,
};
pub use key::{Algorithms, AlgorithmsError, KeyError, KeySource};
pub use keys::{ConfiguredKey, Keys, TokenKey};
pub use opaque::is_opaque;
pub use origin::{Sender, hosts, split_port};
pub use verifier::{Claims, TokenConfig, TokenError, Verifier};
