//! What other nodes need to know about the tokens of a long-polling connection, whose client may
//! poll at any of them.

use std::time::Duration;

use session::{Registration, Subject, TokenTraces};

use crate::connection::Connection;

/// The tokens of a connection, as another node needs to know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTraces {
    /// What its tokens can be selected by.
    pub tokens: Vec<TokenTraces>,
    /// The time until the first of its tokens expires; `None` if it has no token, or if tokens do
    /// not expire.
    pub left: Option<Duration>,
}

impl Connection {
    /// Returns what another node needs to know to terminate a poll of this connection. Only a
    /// long-polling connection keeps it.
    pub fn traces(&self) -> ConnectionTraces {
        let ties = self.ties().lock();
        let left = ties.tokens.iter().filter_map(Registration::left).min();
        let tokens = self.mailbox().map(|mailbox| mailbox.tokens().iter().map(Subject::traces).collect());
        ConnectionTraces { tokens: tokens.unwrap_or_default(), left }
    }

    /// Keeps what a long-polling connection has to tell about its tokens, of which some are new.
    /// The others have only the keys of the registry, which no other node understands.
    pub(crate) fn keep_traces(&self, tokens: &[Registration], new: &[Subject]) {
        let Some(mailbox) = self.mailbox() else { return };
        let registered = |subject: &Subject| tokens.iter().find(|token| token.is_that_of(subject));
        let mut kept = mailbox.tokens();
        kept.retain_mut(|subject| {
            let token = registered(subject).filter(|_| !new.iter().any(|new| new.is_same(subject)));
            if token.is_some_and(|token| !token.has_marks()) {
                subject.drop_marks();
            }
            token.is_some()
        });
        kept.extend(new.iter().filter(|subject| registered(subject).is_some()).cloned());
    }
}
