//! The tokens that an issuer was asked about. No I/O; takes the time as an argument.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::answer::Statement;
use super::refusals::Refusals;
use crate::token_error::TokenError;

/// How long a token that is active is accepted without a further question.
pub(super) const ACTIVE_FOR: Duration = Duration::from_secs(30);

/// How long after a question the next one is asked about a token that is in use. With the time for
/// an answer, that is a minute.
const ASK_AFTER: Duration = Duration::from_secs(55);

/// How long after a question the answer to the next one must be there.
const ANSWERED_AFTER: Duration = Duration::from_secs(60);

/// How long a token counts as used. Its connection may not be registered yet.
const USED_FOR: Duration = Duration::from_secs(60);

/// How soon a token that is not active is looked at again, for connections that were registered
/// since.
const AGAIN: Duration = Duration::from_secs(2);

/// How long after its use a token without connections is forgotten if there are too many.
const SETTLED: Duration = Duration::from_secs(15);

/// The pause after the first question without an answer. Each further one is twice as long, up to
/// [`ASK_AFTER`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Names a token without revealing it: its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TokenId([u8; 32]);

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Tokens that are active.
    pub(super) tokens: usize,
    /// Their texts, and what the issuer states about them, in bytes.
    pub(super) bytes: usize,
    /// Tokens that were refused.
    pub(super) refused: usize,
}

/// What is remembered of the tokens of an issuer.
pub(super) struct Store {
    bounds: Bounds,
    max_stale: Duration,
    tokens: HashMap<TokenId, Remembered>,
    bytes: usize,
    /// When to look at the tokens.
    looks: BTreeSet<(Instant, TokenId)>,
    /// Apart from the others, so that tokens which a stranger invents displace none of them.
    refusals: Refusals,
    is_crowded: bool,
}

/// A token that was active.
struct Remembered {
    token: Arc<str>,
    statement: Statement,
    /// When the question began whose answer this is.
    asked: Instant,
    used: Instant,
    /// When the next question is due.
    ask_at: Instant,
    /// When to look at it next.
    look_at: Instant,
    failing: Option<Failing>,
    /// Why it is not active any more.
    ended: Option<Arc<str>>,
    /// It waits to be asked about.
    is_queued: bool,
}

/// The questions since the last answer.
#[derive(Clone, Copy)]
struct Failing {
    /// When the first of them failed.
    since: Instant,
    pause: Duration,
}

/// What is known of a token.
pub(super) enum Known {
    /// It was active when the question began that was asked at this time.
    Active(Statement, Instant),
    Refused(TokenError),
}

/// A token that is due to be looked at.
pub(super) struct Due {
    pub(super) id: TokenId,
    /// It was used within [`USED_FOR`].
    pub(super) is_used: bool,
    pub(super) state: DueState,
}

/// What is to be done about a token, if it is still in use.
pub(super) enum DueState {
    /// It is not active, for this reason: its connections are to be terminated.
    Ended(Arc<str>),
    /// It is to be asked about.
    Unasked,
    /// Nothing.
    Fine,
}

/// As many tokens are remembered as may be.
#[derive(Debug)]
pub(super) struct Full;

impl Default for Bounds {
    fn default() -> Self {
        Self { tokens: 131_072, bytes: 128 << 20, refused: 16_384 }
    }
}

impl TokenId {
    pub(super) fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Returns the value of the token's mark.
    pub(super) fn mark(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl Store {
    /// `max_stale` is how long a token in use may go without an answer that is due.
    pub(super) fn new(bounds: Bounds, max_stale: Duration) -> Self {
        let refusals = Refusals::new(bounds.refused);
        let (tokens, looks) = (HashMap::new(), BTreeSet::new());
        Self { bounds, max_stale, tokens, bytes: 0, looks, refusals, is_crowded: false }
    }

    /// Returns what the issuer has said about a token a short while ago, and notes that the token
    /// is used.
    pub(super) fn known(&mut self, id: &TokenId, now: Instant) -> Option<Known> {
        if let Some(error) = self.refusals.of(id, now) {
            return Some(Known::Refused(error));
        }
        let token = self.tokens.get_mut(id).filter(|token| token.is_in_force(now))?;
        token.used = now;
        Some(Known::Active(token.statement.clone(), token.asked))
    }

    /// Returns `true` if the issuer need not be asked about a token now.
    pub(super) fn knows(&self, id: &TokenId, now: Instant) -> bool {
        let is_in_force = |token: &Remembered| token.is_in_force(now);
        self.refusals.of(id, now).is_some() || self.tokens.get(id).is_some_and(is_in_force)
    }

    /// Notes that a token is active, by a question that was `asked` at this time.
    ///
    /// # Errors
    /// Fails if the token is new and as many are remembered as may be. A token that nothing asks
    /// about again must not be accepted.
    pub(super) fn accept(
        &mut self,
        id: TokenId,
        token: &str,
        statement: Statement,
        asked: Instant,
        now: Instant,
    ) -> Result<(), Full> {
        let ask_at = asked + ASK_AFTER;
        let size = token.len() + statement.len();
        match self.tokens.get_mut(&id) {
            Some(known) => {
                let bytes = self.bytes - known.size() + size;
                // Statements may grow.
                if size > known.size() && bytes > self.bounds.bytes {
                    self.is_crowded = true;
                    return Err(Full);
                }
                self.bytes = bytes;
                (known.statement, known.asked, known.ask_at) = (statement, asked, ask_at);
                (known.failing, known.ended) = (None, None);
            }
            None => {
                let Bounds { tokens, bytes, .. } = self.bounds;
                self.is_crowded |= self.tokens.len() >= tokens / 8 * 7 || self.bytes >= bytes / 8 * 7;
                if self.tokens.len() >= tokens || self.bytes + size > bytes {
                    self.is_crowded = true;
                    return Err(Full);
                }
                self.bytes += size;
                let remembered = Remembered {
                    token: token.into(),
                    statement,
                    asked,
                    used: now,
                    ask_at,
                    look_at: ask_at,
                    failing: None,
                    ended: None,
                    is_queued: false,
                };
                self.tokens.insert(id, remembered);
            }
        }
        self.refusals.forget(&id);
        self.look(&id, ask_at);
        Ok(())
    }

    /// Notes that a token was used.
    pub(super) fn note_use(&mut self, id: &TokenId, now: Instant) {
        if let Some(token) = self.tokens.get_mut(id) {
            token.used = now;
        }
    }

    /// Notes that a token is refused. Returns `true` if it was accepted before: it is due to be
    /// looked at.
    pub(super) fn refuse(&mut self, id: TokenId, error: TokenError, now: Instant) -> bool {
        self.refusals.put(id, error, now);
        let reason = match error {
            TokenError::Inactive => "token no longer active".into(),
            error => format!("token no longer accepted: {error}").into(),
        };
        self.end(&id, reason, now)
    }

    /// Notes that a question about a token had no answer.
    pub(super) fn fail(&mut self, id: &TokenId, now: Instant) {
        let max_stale = self.max_stale;
        let Some(token) = self.tokens.get_mut(id).filter(|token| token.ended.is_none()) else { return };
        let failing = match token.failing {
            Some(failing) => Failing { pause: (failing.pause * 2).min(ASK_AFTER), ..failing },
            None => Failing { since: now, pause: FIRST_PAUSE },
        };
        token.failing = Some(failing);
        token.ask_at = now + failing.pause;
        let look_at = token.ask_at.min(token.stale_at(max_stale));
        self.look(id, look_at);
    }

    /// Returns the time of the next look.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.looks.first().map(|(at, _)| *at)
    }

    /// Returns a token that is due. It is due again soon, unless it was
    /// [settled](Self::forget).
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let (_, id) = *self.looks.first().filter(|(at, _)| *at <= now)?;
        let max_stale = self.max_stale;
        let token = self.tokens.get_mut(&id)?;
        let stale_at = token.stale_at(max_stale);
        if token.ended.is_none() && now >= stale_at {
            let seconds = (now - token.unanswered_since()).as_secs();
            token.ended = Some(format!("the issuer could not be asked for {seconds} s").into());
        }
        let (state, look_at) = match &token.ended {
            Some(reason) => (DueState::Ended(reason.clone()), now + AGAIN),
            None if now >= token.ask_at && !token.is_queued => (DueState::Unasked, stale_at),
            None if now >= token.ask_at => (DueState::Fine, stale_at),
            None => (DueState::Fine, token.ask_at.min(stale_at)),
        };
        let is_used = now < token.used + USED_FOR;
        self.look(&id, look_at);
        Some(Due { id, is_used, state })
    }

    /// Notes that a token waits to be asked about.
    pub(super) fn queue(&mut self, id: &TokenId) {
        if let Some(token) = self.tokens.get_mut(id) {
            token.is_queued = true;
        }
    }

    /// Returns a token that has waited to be asked about, and for how long; `None` if that is no
    /// longer needed.
    pub(super) fn unqueue(&mut self, id: &TokenId, now: Instant) -> Option<(Arc<str>, Duration)> {
        let token = self.tokens.get_mut(id)?;
        token.is_queued = false;
        let is_due = token.ended.is_none() && now >= token.ask_at;
        is_due.then(|| (token.token.clone(), now - token.ask_at))
    }

    /// Forgets a token that was not used for [`USED_FOR`].
    pub(super) fn forget(&mut self, id: &TokenId, now: Instant) {
        if self.tokens.get(id).is_some_and(|token| now >= token.used + USED_FOR) {
            self.remove(id);
        }
    }

    /// Returns `true` if there is hardly room left: tokens without connections are to be forgotten.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// Returns the tokens that are forgotten now if they have no connections.
    pub(super) fn settled(&mut self, now: Instant) -> Vec<TokenId> {
        self.is_crowded = false;
        let is_settled = |token: &Remembered| now >= token.used + SETTLED;
        self.tokens.iter().filter(|(_, token)| is_settled(token)).map(|(id, _)| *id).collect()
    }

    /// Forgets a token that was not used lately: there are too many.
    pub(super) fn displace(&mut self, id: &TokenId, now: Instant) {
        if self.tokens.get(id).is_some_and(|token| now >= token.used + SETTLED) {
            self.remove(id);
        }
    }

    /// Returns how many tokens are remembered that are active as far as is known.
    pub(super) fn active(&self) -> usize {
        self.tokens.values().filter(|token| token.ended.is_none()).count()
    }

    #[cfg(test)]
    pub(super) fn refusals(&self) -> usize {
        self.refusals.len()
    }

    fn end(&mut self, id: &TokenId, reason: Arc<str>, now: Instant) -> bool {
        let Some(token) = self.tokens.get_mut(id) else { return false };
        token.ended = Some(reason);
        self.look(id, now);
        true
    }

    fn look(&mut self, id: &TokenId, at: Instant) {
        let Some(token) = self.tokens.get_mut(id) else { return };
        self.looks.remove(&(token.look_at, *id));
        token.look_at = at;
        self.looks.insert((at, *id));
    }

    fn remove(&mut self, id: &TokenId) {
        if let Some(token) = self.tokens.remove(id) {
            self.bytes -= token.size();
            self.looks.remove(&(token.look_at, *id));
        }
    }
}

impl Remembered {
    fn size(&self) -> usize {
        self.token.len() + self.statement.len()
    }

    fn is_in_force(&self, now: Instant) -> bool {
        self.ended.is_none() && now < self.asked + ACTIVE_FOR
    }

    /// Returns since when there should have been an answer: questions may also wait for others.
    fn unanswered_since(&self) -> Instant {
        let due = self.asked + ANSWERED_AFTER;
        self.failing.map_or(due, |failing| failing.since.min(due))
    }

    fn stale_at(&self, max_stale: Duration) -> Instant {
        self.unanswered_since() + max_stale
    }
}
