//! The registrations of a connection: one in the session registry for each token, and one in the
//! subscription index.

use std::sync::{Arc, Weak};

use event::Event;
use history::{EventPosition, Ring};
use session::{Expiry, Registration, SessionName, Subject};
use subscription::{Interest, Subscription};

use crate::commons::Commons;
use crate::connection::Connection;
use crate::encoding::Encoding;
use crate::resume::Resume;
use crate::sequencer::Sequencer;
use crate::sync::uses_index;

/// The limit of tokens of one connection. Each renewal adds one.
pub(crate) const MAX_TOKENS: usize = 64;

/// Registrations of a connection, undone with it.
#[derive(Default)]
pub(crate) struct Ties {
    pub(crate) tokens: Box<[Registration]>,
    pub(crate) interest: Option<Interest<Weak<Connection>>>,
    /// The subscriptions as they were announced to the client: a JSON list.
    pub(crate) subscriptions: Box<str>,
}

/// Why a connection could not be bound to a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The token is revoked. Holds the name of its session, if it has one.
    #[error("the session is blacklisted")]
    SessionBlacklisted(Option<SessionName>),
    /// The connection is closing or closed.
    #[error("the connection has ended")]
    Gone,
    /// None of the connection's tokens is of the same user (`sub`) as the new one.
    #[error("the token is of another user (sub) than those of the connection")]
    OtherUser,
    /// The node has no lease, so that the token may be revoked without it knowing.
    #[error("the node has lost contact with the other nodes")]
    NoLease,
    /// The connection holds as many tokens as it can.
    #[error("the connection holds {MAX_TOKENS} tokens already; open a new one")]
    TooManyTokens,
}

impl Connection {
    /// Binds the connection to its tokens, announces it and its subscriptions, and lets events in.
    ///
    /// Every token is checked against the blacklist as it is bound; a connection that cannot be
    /// bound to all of them is refused ("no gap" in ARCHITECTURE.md).
    pub(crate) fn begin(
        self: &Arc<Self>,
        subjects: &[Subject],
        (subscriptions, mut resume): (&[Subscription], Resume),
        welcome: &Event,
    ) -> Result<(), BindError> {
        let mut ties = self.ties().lock();
        if !subjects.is_empty() {
            self.fence();
        }
        ties.tokens = self.bind(subjects)?.into();
        self.keep_traces(&ties.tokens, subjects);
        let index = &self.commons().index;
        let subscribe = || {
            uses_index();
            index.subscribe(Arc::downgrade(self), subscriptions)
        };
        let Some(sequencer) = &self.commons().config.history else {
            self.say(welcome, None, EventPosition::default());
            self.announce(&mut ties, subscriptions);
            ties.interest = Some(subscribe());
            return Ok(());
        };
        let mut ring = sequencer.lock();
        sequencer.want(&mut ring, subscriptions, index);
        let gives_ids = resume.cursor.is_some()
            || resume.ids_in_heartbeats
            || self.encoding() == Some(Encoding::WebSocketIds);
        let start = sequencer.start(&mut ring, &mut resume, subjects, subscriptions, index.extractors());
        self.begin_at(&start);
        self.say(welcome, Some(&start.id), start.place);
        self.announce(&mut ties, subscriptions);
        // With the ring locked: what comes before is in the ring, what comes after is delivered.
        ties.interest = Some(subscribe());
        self.note_selection(sequencer, &ring, subscriptions);
        self.enter(sequencer, start);
        drop(ring);
        if gives_ids {
            self.give_ids();
        }
        Ok(())
    }

    /// Replaces the subscriptions, and binds the connection to further tokens beside those it has
    /// (RIG: `PUT …/subscriptions`). A token of the same user renews those that expire earlier: the
    /// connection stays open with it.
    ///
    /// # Errors
    /// See [`BindError`]; the subscriptions stay as they were.
    pub fn set_subscriptions(
        self: &Arc<Self>,
        subjects: &[Subject],
        subscriptions: &[Subscription],
    ) -> Result<(), BindError> {
        let mut ties = self.ties().lock();
        if self.close_reason().is_some() {
            return Err(BindError::Gone);
        }
        let mut tokens = std::mem::take(&mut ties.tokens).into_vec();
        let renewed = self.renew(&mut tokens, subjects);
        ties.tokens = tokens.into();
        renewed?;
        if !ties.tokens.is_empty() {
            self.fence();
        }
        self.keep_traces(&ties.tokens, subjects);
        let Some(sequencer) = &self.commons().config.history else {
            self.announce(&mut ties, subscriptions);
            ties.interest.iter_mut().for_each(|interest| interest.replace(subscriptions));
            return Ok(());
        };
        let index = &self.commons().index;
        let mut ring = sequencer.lock();
        sequencer.want(&mut ring, subscriptions, index);
        self.announce(&mut ties, subscriptions);
        uses_index();
        ties.interest.iter_mut().for_each(|interest| interest.replace(subscriptions));
        self.note_selection(sequencer, &ring, subscriptions);
        self.select_anew(&mut ring, subjects, subscriptions);
        Ok(())
    }

    /// Records what a mailbox takes from the ring when it is full. Called with the ring locked.
    fn note_selection(&self, sequencer: &Sequencer, ring: &Ring, subscriptions: &[Subscription]) {
        if let Some(mailbox) = self.mailbox() {
            let all = sequencer.keys().select(subscriptions, self.commons().index.extractors());
            mailbox.select(ring.last(), all);
        }
    }

    /// Lets a client that has come back get what it still misses with these subscriptions. Called
    /// with the ring locked.
    fn select_anew(&self, ring: &mut Ring, subjects: &[Subject], subscriptions: &[Subscription]) {
        let Commons { config, index, .. } = self.commons();
        let Some(sequencer) = &config.history else { return };
        let of = (subjects, &**index.extractors());
        let selected = self.with_returned(|returned, position| {
            returned.select(sequencer, ring, position, subscriptions, of)
        });
        match selected {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => self.wake(),
            Some(Err(gap)) => {
                let head = ring.last();
                self.set_position(head, None);
                self.say_gap(sequencer, gap, head);
            }
        }
    }

    fn bind(self: &Arc<Self>, subjects: &[Subject]) -> Result<Vec<Registration>, BindError> {
        // Collecting the results would allocate for four.
        let mut tokens = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let weak: Weak<Self> = Arc::downgrade(self);
            let registered = self.commons().sessions.register(subject, weak);
            tokens.push(registered.map_err(|_| BindError::SessionBlacklisted(subject.session().cloned()))?);
        }
        // Asked after the tokens are registered: from now on, a revocation finds the connection.
        if !tokens.is_empty() && !self.commons().admissions.fence().is_open() {
            return Err(BindError::NoLease);
        }
        Ok(tokens)
    }

    fn renew(
        self: &Arc<Self>,
        tokens: &mut Vec<Registration>,
        subjects: &[Subject],
    ) -> Result<(), BindError> {
        // If tokens do not expire, they are not renewed either: then any token is taken (RIG).
        let renews = self.commons().sessions.config().expiry() != Expiry::Ignored && !tokens.is_empty();
        let is_known = |subject: &Subject| tokens.iter().any(|token| token.goes_with(subject));
        if renews && !subjects.iter().all(is_known) {
            return Err(BindError::OtherUser);
        }
        // Expired tokens are dropped below: only good ones and new ones count.
        let room = tokens.iter().filter(|token| token.is_good()).count() + subjects.len();
        if room > MAX_TOKENS {
            return Err(BindError::TooManyTokens);
        }
        let mut newer = self.bind(subjects)?;
        for (newer, subject) in newer.iter_mut().zip(subjects) {
            for token in tokens.iter_mut().filter(|token| token.is_of_user(subject)) {
                token.renew(newer).map_err(|_| BindError::Gone)?;
                newer.renew(token).map_err(|_| BindError::Gone)?;
            }
        }
        tokens.retain(|token| !newer.iter().any(|newer| newer.is_same(token)));
        if tokens.len() + newer.len() > MAX_TOKENS {
            tokens.retain(Registration::is_good);
        }
        tokens.append(&mut newer);
        Ok(())
    }

    fn announce(&self, ties: &mut Ties, subscriptions: &[Subscription]) {
        let data = serde_json::value::to_raw_value(subscriptions).expect("subscriptions are JSON");
        let announcement = Event::of_rig("rig.subscriptions_set", Some(&data));
        self.say(&announcement, None, EventPosition::default());
        ties.subscriptions = data.into();
    }
}

#[cfg(test)]
mod tests;
