//! Turns credentials into verified claims, and checks who may subscribe and publish.
//!
//! The room handles tokens, keys, RIG's two checks, and the page that a request comes from. Whether
//! the session of a valid token is revoked is not its concern, but the session room's.

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
