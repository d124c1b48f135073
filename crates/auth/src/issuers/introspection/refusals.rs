//! Tokens that were refused a short while ago. Strangers invent such tokens, so this memory is
//! small, and apart from that of active tokens.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::store::TokenId;
use crate::token_error::TokenError;

/// How long the issuer is not asked again about a token that it has refused.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A bounded memory of refusals. If it is full, the oldest is forgotten.
pub(super) struct Refusals {
    most: usize,
    by_token: HashMap<TokenId, (Instant, TokenError)>,
    /// In the order of their times, which is that of their insertion. May contain what was
    /// forgotten since.
    order: VecDeque<(Instant, TokenId)>,
}

impl Refusals {
    pub(super) fn new(most: usize) -> Self {
        Self { most, by_token: HashMap::new(), order: VecDeque::new() }
    }

    /// Returns why a token was refused; `None` if it was not, or not lately.
    pub(super) fn of(&self, id: &TokenId, now: Instant) -> Option<TokenError> {
        self.by_token.get(id).filter(|(until, _)| now < *until).map(|(_, error)| *error)
    }

    pub(super) fn put(&mut self, id: TokenId, error: TokenError, now: Instant) {
        while let Some((until, oldest)) = self.order.front().copied()
            && (until <= now || self.order.len() >= self.most)
        {
            self.order.pop_front();
            if self.by_token.get(&oldest).is_some_and(|(its, _)| *its == until) {
                self.by_token.remove(&oldest);
            }
        }
        let until = now + REFUSED_FOR;
        self.by_token.insert(id, (until, error));
        self.order.push_back((until, id));
    }

    pub(super) fn forget(&mut self, id: &TokenId) {
        self.by_token.remove(id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_token.len().max(self.order.len())
    }
}
