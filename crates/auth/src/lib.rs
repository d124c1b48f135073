//! Turns credentials into verified claims, and checks who may subscribe and publish.
//!
//! The room handles tokens, the issuers that sign them and their keys, RIG's two checks, and the
//! page that a request comes from. Whether the session of a valid token is revoked is not its
//! concern, but the session room's.

mod check;
mod claims;
mod cors;
mod credentials;
mod issuers;
mod key;
mod key_set;
mod keys;
mod opaque;
mod origin;
mod provider_client;
mod secret_file;
mod token_error;
mod verifier;

pub use check::{Check, CheckError, CheckRequest, Denied, ExternalCheck};
pub use claims::Claims;
pub use cors::{Cors, CorsError};
pub use credentials::{
    Credential, TokenPlace, TokenSources, bearer_tokens, cookies, parameters, stripped_cookies,
};
pub use issuers::{
    Audience, CheckedIssuer, EndedMark, Introspected, IntrospectionConfig, Issuer, IssuerConfig, IssuerState,
    Issuers, KeysFrom, Kind, ListFlaw, ListState, ListsConfig, Mark, OnWithdrawn, OpenConnections,
    PrefixError, Refetched, SignedJwt, StatusList, StatusListToken, UnknownKeys, check_issuer, keep_keys,
    keep_lists, keep_tokens,
};
pub use key::{Algorithms, AlgorithmsError, KeyError, KeySource};
pub use key_set::{KeyFlaw, KeySet, KeySetError, PublicKey, SkippedKey};
pub use keys::{ConfiguredKey, Keys, TokenKey};
pub use opaque::is_opaque;
pub use origin::{Sender, hosts, split_port};
pub use provider_client::{ProviderAccess, ProviderClient, RequestError, RequestLimits};
pub use secret_file::{SecretFile, basic_credentials};
pub use token_error::TokenError;
pub use verifier::{TokenConfig, Verifier};
