//! Tokens that only their issuer can read: it is asked about them (RFC 7662).
//!
//! | file | contents |
//! | --- | --- |
//! | `answer` | what an answer says, and of which type a token is |
//! | `endpoint` | the question over HTTP |
//! | `store`, `refusals` | which tokens are remembered, and until when |
//! | `complaint` | why the issuer does not answer, for the log |
//! | `keep` | the task that asks again about tokens that are in use |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::keys::IssuerKeys;
use super::{Audience, IntrospectionConfig, Issuer, IssuerConfig};
use crate::claims::Claims;
use crate::token_error::TokenError;

mod answer;
mod complaint;
mod endpoint;
mod keep;
mod refusals;
mod store;
#[cfg(test)]
mod tests;

pub use keep::keep_tokens;

use answer::{Answer, Statement, check_type};
use complaint::Complaint;
use endpoint::{Ask, Endpoint};
use store::{ACTIVE_FOR, Bounds, Full, Known, Store, TokenId};

/// How many questions of requests an issuer is asked at once. Others wait.
const MOST_ASKED: usize = 64;

/// Why a token is not accepted although it is active.
const FULL: &str = "as many tokens are in use as may be remembered";

/// What the issuer has said about its opaque tokens.
pub(super) struct Introspection {
    endpoint: Arc<dyn Ask>,
    store: Mutex<Store>,
    /// The questions without an answer yet. Locked before `store`.
    asking: Mutex<HashMap<TokenId, Answered>>,
    /// Those of requests.
    places: Arc<Semaphore>,
    complaint: Mutex<Complaint>,
    /// Wakes the task that asks again.
    wake: Notify,
}

/// What is known of the opaque tokens of an issuer, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introspected {
    /// Remembered tokens that were active when the issuer was last asked.
    pub tokens: usize,
    /// Why the last question had no answer; `None` if it had one.
    pub last_error: Option<String>,
}

type Verdict = Result<Claims, TokenError>;

/// The end of a question.
type Answered = watch::Receiver<Option<Verdict>>;

/// A question that is being asked. Dropping it makes room for the next about the same token.
struct Asking {
    issuer: Arc<Issuer>,
    id: TokenId,
    answered: watch::Sender<Option<Verdict>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Introspection {
    pub(super) fn new(own: IntrospectionConfig, config: &IssuerConfig, keys: &IssuerKeys) -> Self {
        Self::with(Arc::new(Endpoint::new(own, keys)), Bounds::default(), config.keys_max_stale)
    }

    /// `max_stale` is how long connections stay if the issuer cannot be asked.
    fn with(endpoint: Arc<dyn Ask>, bounds: Bounds, max_stale: Duration) -> Self {
        Self {
            endpoint,
            store: Mutex::new(Store::new(bounds, max_stale)),
            asking: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_ASKED)),
            complaint: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> Introspected {
        let tokens = self.store.lock().active();
        Introspected { tokens, last_error: self.complaint.lock().current().map(str::to_owned) }
    }

    /// Asks about a token, unless that is being done, or was a moment ago: then there is nothing to
    /// wait for.
    fn begin(
        &self,
        issuer: &Arc<Issuer>,
        id: TokenId,
        token: Arc<str>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Option<Answered> {
        let mut asking = self.asking.lock();
        if let Some(answered) = asking.get(&id) {
            return Some(answered.clone());
        }
        // What an answer brings is known before it is no longer waited for.
        if self.store.lock().knows(&id, Instant::now()) {
            return None;
        }
        let (sender, answered) = watch::channel(None);
        asking.insert(id, answered.clone());
        let question = Asking { issuer: issuer.clone(), id, answered: sender, _place: place };
        // On its own, since others may wait for the answer as well.
        tokio::spawn(question.ask(token));
        Some(answered)
    }

    fn complain(&self, issuer: &Issuer, reason: &str) {
        if self.complaint.lock().failed(reason, Instant::now()) {
            let issuer = &issuer.config.id;
            tracing::warn!(%issuer, error = reason, "an issuer cannot be asked about its tokens");
        }
    }
}

impl Asking {
    async fn ask(self, token: Arc<str>) {
        if let Some(introspection) = &self.issuer.introspection {
            let verdict = self.decide(introspection, &token).await;
            self.answered.send_replace(Some(verdict));
        }
    }

    async fn decide(&self, introspection: &Introspection, token: &str) -> Verdict {
        let (issuer, id, asked) = (&*self.issuer, self.id, Instant::now());
        let answer = introspection.endpoint.ask(token).await;
        let now = Instant::now();
        let verdict = match answer {
            Err(failure) => {
                introspection.store.lock().fail(&id, now);
                introspection.complain(issuer, &failure.to_string());
                introspection.wake.notify_one();
                return Err(TokenError::Unavailable);
            }
            Ok(Answer::Active(statement)) => {
                issuer.check_statement(&statement, &id, asked).map(|claims| (claims, statement))
            }
            Ok(Answer::Inactive) => Err(TokenError::Inactive),
        };
        let mut store = introspection.store.lock();
        let verdict = match verdict {
            Ok((claims, statement)) => match store.accept(id, token, statement, asked, now) {
                Ok(()) => Ok(claims),
                Err(Full) => {
                    store.fail(&id, now);
                    Err(TokenError::Unavailable)
                }
            },
            Err(error) => {
                store.refuse(id, error, now);
                Err(error)
            }
        };
        drop(store);
        // The task looks at what is refused, what is new, and whether there is too much.
        introspection.wake.notify_one();
        if matches!(verdict, Err(TokenError::Unavailable)) {
            introspection.complain(issuer, FULL);
        } else if introspection.complaint.lock().answered() {
            tracing::info!(issuer = %issuer.config.id, "an issuer can be asked about its tokens again");
        }
        verdict
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(introspection) = &self.issuer.introspection {
            introspection.asking.lock().remove(&self.id);
        }
    }
}

impl Issuer {
    /// Returns the claims of a token that the issuer was asked about a short while ago. Never
    /// waits.
    pub(super) fn introspected(&self, token: &str) -> Verdict {
        let Some(introspection) = &self.introspection else { return Err(TokenError::Unavailable) };
        let id = TokenId::of(token);
        let known = introspection.store.lock().known(&id, Instant::now());
        match known {
            Some(Known::Active(statement, asked)) => self.check_statement(&statement, &id, asked),
            Some(Known::Refused(error)) => Err(error),
            None => Err(TokenError::Unasked),
        }
    }

    /// Asks the issuer about a token, unless it was asked a short while ago.
    pub(super) async fn introspect(self: &Arc<Self>, token: &str, within: Duration) -> Verdict {
        timeout(within, self.introspect_whenever(token)).await.unwrap_or(Err(TokenError::Unavailable))
    }

    async fn introspect_whenever(self: &Arc<Self>, token: &str) -> Verdict {
        let Some(introspection) = &self.introspection else { return Err(TokenError::Unavailable) };
        match self.introspected(token) {
            Err(TokenError::Unasked) => {}
            verdict => return verdict,
        }
        let id = TokenId::of(token);
        let underway = introspection.asking.lock().get(&id).cloned();
        let answered = match underway {
            Some(answered) => Some(answered),
            None => {
                // Whoever goes away while waiting for a place asks nothing.
                let place = introspection.places.clone().acquire_owned().await;
                let place = place.map_err(|_| TokenError::Unavailable)?;
                introspection.begin(self, id, token.into(), Some(place))
            }
        };
        let Some(mut answered) = answered else { return self.introspected(token) };
        let verdict = answered.wait_for(Option::is_some).await;
        let verdict = verdict.ok().and_then(|verdict| verdict.clone());
        let verdict = verdict.unwrap_or(Err(TokenError::Unavailable));
        if verdict.is_ok() {
            introspection.store.lock().note_use(&id, Instant::now());
        }
        verdict
    }

    /// Checks what the issuer states about an active token, by a question that was `asked` at this
    /// time.
    fn check_statement(&self, statement: &Statement, id: &TokenId, asked: Instant) -> Verdict {
        let claims = statement.claims()?;
        match claims.get("iss") {
            None | Some(Value::Null) => {}
            Some(Value::String(iss)) if self.is_named(iss) => {}
            Some(_) => return Err(TokenError::Issuer),
        }
        // Where an audience is required, a refresh token hardly has one.
        check_type(&claims, matches!(self.config.audience, Audience::Any))?;
        let mut claims = self.check_access(claims, vec![("token", id.mark().into())])?;
        let expires = Instant::now().checked_add(claims.valid_for(SystemTime::now()));
        let checked_until = asked + ACTIVE_FOR;
        claims.checked_until = Some(expires.map_or(checked_until, |expires| expires.min(checked_until)));
        Ok(claims)
    }

    fn is_named(&self, iss: &str) -> bool {
        [&self.config.issuer].into_iter().chain(&self.config.aliases).any(|text| **text == *iss)
    }
}
