//! The way of every statement: verified, read, carried out, counted.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use auth::{Kind, SignedJwt, TokenError};
use identity::Ordered;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::{FeedName, StatementResult};

/// How long a statement waits for the keys of its issuer. Some senders give up after 2.5 s.
const KEYS_WITHIN: Duration = Duration::from_secs(2);

/// How long a statement waits until it is checked, if too many are.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a statement asks for.
pub(crate) enum Asked {
    /// These revocations.
    Revoke(Vec<Ordered>),
    /// Nothing that can be done.
    Nothing(StatementResult),
}

/// Why a statement was not accepted.
#[derive(Debug)]
pub(crate) enum NotTaken<E> {
    /// It is not valid.
    Refused(E),
    /// It may be valid, but could not be checked or kept. The sender may repeat it.
    Unavailable(Unavailable),
}

/// Why a statement could not be checked or kept.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// The keys of the issuer cannot be fetched, or not enough of them were asked for.
    Keys,
    /// The token that transmitters present cannot be read from its file.
    NoToken,
    /// Too many statements are checked.
    Busy,
    /// A revocation is in force at most until the process exits.
    NotKept,
}

impl Unavailable {
    /// Returns the reason, as the sender may know it.
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Keys => "the keys of the issuer cannot be fetched",
            Self::NoToken => "the token of transmitters cannot be read",
            Self::Busy => "too many statements are checked",
            Self::NotKept => "the revocation could not be stored",
        }
    }
}

impl Feeds {
    /// Verifies a JWT with a statement, reads what it asks for, and carries that out: no connection
    /// that it means gets anything afterwards. Counts and logs the result.
    pub(crate) async fn state<E: Display>(
        &self,
        issuer: &IssuerFeeds,
        feed: FeedName,
        (token, kind): (&str, Kind),
        read: impl FnOnce(Result<&SignedJwt, TokenError>, SystemTime) -> Result<Asked, E>,
    ) -> Result<StatementResult, NotTaken<E>> {
        let result = match self.check(issuer, (token, kind), read).await {
            Ok(Asked::Revoke(orders)) => self.carry_out(issuer, feed, orders).await,
            Ok(Asked::Nothing(result)) => Ok(result),
            Err(error) => Err(error),
        };
        self.conclude(issuer, feed, &result);
        result
    }

    async fn check<E>(
        &self,
        issuer: &IssuerFeeds,
        (token, kind): (&str, Kind),
        read: impl FnOnce(Result<&SignedJwt, TokenError>, SystemTime) -> Result<Asked, E>,
    ) -> Result<Asked, NotTaken<E>> {
        let known = {
            let _permit = permit(&issuer.checks).await?;
            issuer.signatures.verify(token, kind)
        };
        let signed = match known {
            // Statements with keys that are known do not queue behind those that wait for keys:
            // anyone can make up a key. Without keys, the first fetch after the start may be under
            // way.
            Err(TokenError::UnknownKey | TokenError::Unavailable) => {
                let _permit = permit(&issuer.fetches).await?;
                let verify = issuer.signatures.verify_fetching(token, kind, KEYS_WITHIN);
                timeout(KEYS_WITHIN, verify).await.unwrap_or(Err(TokenError::Unavailable))
            }
            signed => signed,
        };
        match &signed {
            Err(TokenError::Unavailable) => Err(NotTaken::Unavailable(Unavailable::Keys)),
            Err(error) => read(Err(*error), SystemTime::now()).map_err(NotTaken::Refused),
            Ok(signed) => read(Ok(signed), SystemTime::now()).map_err(NotTaken::Refused),
        }
    }

    /// Counts and logs what became of a statement.
    pub(crate) fn conclude<E: Display>(
        &self,
        issuer: &IssuerFeeds,
        feed: FeedName,
        result: &Result<StatementResult, NotTaken<E>>,
    ) {
        let id = &issuer.config.issuer_id;
        let result = match result {
            Ok(result) => *result,
            Err(NotTaken::Refused(error)) => {
                if issuer.log.allows() {
                    let feed = feed.as_str();
                    tracing::warn!(issuer = &**id, feed, %error, "statement of an identity provider refused");
                }
                StatementResult::Invalid
            }
            Err(NotTaken::Unavailable(error)) => {
                if issuer.log_of_unavailable.allows() {
                    let (feed, reason) = (feed.as_str(), error.text());
                    tracing::warn!(
                        issuer = &**id,
                        feed,
                        reason,
                        "statement of an identity provider not taken"
                    );
                }
                StatementResult::Unavailable
            }
        };
        self.metrics.count(id, feed, result);
        issuer.note(feed, result);
    }
}

async fn permit<E>(of: &Semaphore) -> Result<SemaphorePermit<'_>, NotTaken<E>> {
    match timeout(PATIENCE, of.acquire()).await {
        Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
        Err(_) => Err(NotTaken::Unavailable(Unavailable::Busy)),
    }
}
