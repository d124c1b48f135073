//! Who has signed a statement.

use std::time::Duration;

use auth::{Issuer, Kind, SignedJwt, TokenError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Verifies the statements of one issuer.
pub trait Signatures: Send + Sync + 'static {
    /// Checks that the issuer has signed a JWT as one of this kind, with a key that is known. Never
    /// waits.
    ///
    /// # Errors
    /// Fails if the issuer has not signed it, with [`TokenError::UnknownKey`] if the key is not
    /// known, and with [`TokenError::Unavailable`] if no keys are.
    fn verify(&self, token: &str, kind: Kind) -> Result<SignedJwt, TokenError>;

    /// Checks it after the keys were fetched, which takes at most `within` this time.
    ///
    /// # Errors
    /// Fails as [`Signatures::verify`] does, and with [`TokenError::Unavailable`] if the keys
    /// cannot be fetched.
    fn verify_fetching<'a>(
        &'a self,
        token: &'a str,
        kind: Kind,
        within: Duration,
    ) -> BoxFuture<'a, Result<SignedJwt, TokenError>>;
}

impl Signatures for Issuer {
    fn verify(&self, token: &str, kind: Kind) -> Result<SignedJwt, TokenError> {
        self.signed(token, kind)
    }

    fn verify_fetching<'a>(
        &'a self,
        token: &'a str,
        kind: Kind,
        within: Duration,
    ) -> BoxFuture<'a, Result<SignedJwt, TokenError>> {
        self.signed_fetching(token, kind, within).boxed()
    }
}
