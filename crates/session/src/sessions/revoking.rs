//! Accepts, applies and lifts revocations: the only code that makes a session illegal.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Sessions;
use crate::age::ALL;
use crate::clock::Tick;
use crate::connection::{Cause, Ending};
use crate::kill::Kill;
use crate::log::{Appended, Entry, LogError, Operation, Replaced};
use crate::members::Tokens;
use crate::place::Place;
use crate::revocation::{Mode, Receipt, Record, Revocation, RevocationId, Seq};
use crate::selector::{Key, Selector};
use crate::shard::{Bar, Order, Revoked};

/// A revocation was accepted.
#[derive(Debug)]
#[must_use = "dropping a kill carries it out"]
pub enum Accepted {
    /// It is recorded and in force; its connections are still to be notified.
    Begun(Kill),
    /// It has extended the one that had its id. Holds what is in force now, with its remaining
    /// validity; its connections are still to be notified.
    Extended(Kill, Box<Revocation>),
    /// The same is in force already, and for longer than was asked for. Holds what is in force,
    /// with its remaining validity. Connections that it has selected may still have to be notified.
    Again(Kill, Box<Revocation>),
    /// It was accepted before. Holds what it has done.
    Before(Box<Record>),
}

/// A revocation was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// Another revocation has this id.
    #[error("another revocation has this id")]
    Conflict,
    /// It would expire before the token of an open connection, and let that token in again.
    #[error("it ends before the token of an open connection does, which lasts {} seconds more", needed.as_secs())]
    TooShort {
        /// The shortest sufficient validity, rounded up to seconds.
        needed: Duration,
    },
    /// There are [`Sessions::MOST`] live revocations of this selector already.
    #[error("{} revocations of the same tokens are in force already; lift one", Sessions::MOST)]
    TooMany,
    /// The log did not store it. It is in force all the same, on this node and until the process
    /// exits.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a revocation would do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Connections that it would terminate.
    pub connections: usize,
    /// How long the last of their tokens to expire is still valid.
    pub last_token: Option<Duration>,
}

impl Sessions {
    /// Limit of live revocations of one selector.
    pub const MOST: usize = 64;

    /// Accepts a revocation and carries it out: all connections have been notified when it returns.
    /// With `forced`, it is accepted even if tokens outlive it. Blocks for as long as the log does.
    ///
    /// Returns its receipt; `None` if another call is still carrying it out.
    ///
    /// # Errors
    /// See [`RevokeError`]. Nothing has happened, except after [`RevokeError::Log`].
    pub fn revoke(&self, revocation: &Revocation, forced: bool) -> Result<Option<Receipt>, RevokeError> {
        Ok(match self.accept(revocation, forced)? {
            Accepted::Begun(kill) | Accepted::Extended(kill, _) | Accepted::Again(kill, _) => {
                Some(kill.finish())
            }
            Accepted::Before(record) => record.receipt(self.0.config.node()),
        })
    }

    /// Accepts a revocation: stores it and puts it in force. From then on, the tokens that it
    /// selects are refused; the [`Kill`] terminates their open connections. Blocks for as long as
    /// the log does.
    ///
    /// # Errors
    /// As [`Sessions::revoke`].
    pub fn accept(&self, revocation: &Revocation, forced: bool) -> Result<Accepted, RevokeError> {
        let asked = self.0.clock.now();
        self.check(revocation, forced)?;
        match self.0.log.append(revocation) {
            Ok(Appended::New { seq }) => {
                let kill = self.apply_since(revocation, seq, None, asked);
                self.take_unrecorded(&revocation.id, |unrecorded| unrecorded.revision == 0);
                Ok(Accepted::Begun(kill))
            }
            Ok(Appended::Extended { seq, replaces, revocation: extended }) => {
                let kill = self.apply_since(&extended, seq, Some(&replaces), asked);
                self.take_unrecorded(&revocation.id, |unrecorded| unrecorded.revision == 0);
                Ok(Accepted::Extended(kill, extended))
            }
            Ok(Appended::Known(record)) if revocation.extends => {
                let in_force = Revocation { validity: record.left, ..record.revocation };
                let kill = self.apply_since(&in_force, record.seq, None, asked);
                Ok(Accepted::Again(kill.without_receipt(), Box::new(in_force)))
            }
            Ok(Appended::Known(record)) => Ok(Accepted::Before(record)),
            Ok(Appended::Conflict) => Err(RevokeError::Conflict),
            Err(error) => {
                self.enforce_since(revocation, 0, asked).finish();
                Err(error.into())
            }
        }
    }

    /// Puts a revocation of another node in force before it is in the log. [`Sessions::record`]
    /// then stores it and gives it its number. It is the `revision`th change of its id: operations
    /// of the stream that are recorded later leave it in force unless theirs is at least the same.
    /// The [`Kill`] stores no receipt, as there is no record yet.
    pub fn enforce(&self, revocation: &Revocation, revision: u32) -> Kill {
        self.enforce_since(revocation, revision, self.0.clock.now())
    }

    fn enforce_since(&self, revocation: &Revocation, revision: u32, asked: Instant) -> Kill {
        let seq = self.0.unrecorded.fetch_sub(1, Ordering::Relaxed);
        let until = self.tick_after(revocation.validity);
        let mut new = Unrecorded { seq, revision, until, revocation: revocation.clone() };
        let (mut same, mut replaced) = (None, Vec::new());
        let mut by_id = self.0.unrecorded_by_id.lock();
        if by_id.len() < UNRECORDED || by_id.contains_key(&revocation.id) {
            let known = by_id.entry(revocation.id.clone()).or_default();
            if let Some(at) = known.iter().position(|known| known.revocation.is_same(revocation)) {
                // A shorter one takes nothing back, and neither does one with an earlier bound.
                let known = known.swap_remove(at);
                (new.until, new.revision) = (until.max(known.until), revision.max(known.revision));
                new.revocation.extend_bound(&known.revocation);
                same = Some(known.seq);
            }
            replaced = known.extract_if(.., |known| known.revision <= revision).collect();
            known.push(new.clone());
        }
        // The entry is added after it can be found by its id, so that a concurrent lift either
        // removes the entry or makes the shard ignore it.
        drop(by_id);
        let kill = self.apply_until(&new.revocation, seq, same, asked, new.until).without_receipt();
        for replaced in replaced {
            self.take_back(&replaced.revocation.selector, replaced.seq);
        }
        kill
    }

    /// Returns whether a revocation of another node with this id was [enforced](Sessions::enforce)
    /// and is not in the log yet.
    pub fn is_unrecorded(&self, id: &RevocationId) -> bool {
        let (by_id, now) = (self.0.unrecorded_by_id.lock(), self.now());
        let is_waiting = |known: &Unrecorded| known.revision > 0 && known.until > now;
        by_id.get(id).is_some_and(|known| known.iter().any(is_waiting))
    }

    /// Stores operations of the stream in the log, in their order, and puts their effects in force
    /// under their numbers: all connections have been notified when it returns. Blocks for as long
    /// as the log does. Operations on the same id must be recorded in their order.
    ///
    /// Returns, for each operation, the number of the record that it has changed; the caller stores
    /// the receipt under it.
    ///
    /// # Errors
    /// Fails if the operations are not stored. Those that were [enforced](Sessions::enforce) stay
    /// in force until the process exits; a lift has had no effect.
    pub fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Seq>>, LogError> {
        let entries = self.0.log.record(operations)?;
        let mut recorded = Vec::with_capacity(entries.len());
        for ((operation, place), entry) in operations.iter().zip(entries) {
            if let Some(entry) = &entry {
                self.apply(entry).without_receipt().finish();
            }
            self.settle(operation, place.revision, entry.as_ref());
            recorded.push(entry.map(|entry| match entry {
                Entry::Revoked { seq, .. } => seq,
                Entry::Lifted { of, .. } => of,
            }));
        }
        Ok(recorded)
    }

    /// The log holds an id as of this revision, after `operation` has changed it to `entry`:
    /// removes what is in force of it without being in the log, unless that is later. Of the same
    /// revocation, what the log has must suffice: another node may have accepted a longer one, or
    /// one with a later bound, at the same time, and store it next.
    fn settle(&self, operation: &Operation, revision: u32, entry: Option<&Entry>) {
        let id = operation.id();
        if !self.0.unrecorded_by_id.lock().contains_key(id) {
            return;
        }
        let is_replaced = matches!(entry, Some(Entry::Revoked { replaces: Some(_), .. }));
        if is_replaced || matches!(operation, Operation::Lift { .. }) {
            self.take_unrecorded(id, |unrecorded| unrecorded.revision <= revision);
            return;
        }
        let record = self.0.log.find(id).ok().flatten();
        // An operation that is older than the lift of its id changes nothing.
        let is_lifted = record.is_none() && self.0.log.lifted(id).is_ok_and(|lift| lift.is_some());
        let is_over = |unrecorded: &Unrecorded| match &record {
            Some(record) if record.revocation.is_same(&unrecorded.revocation) => {
                let slack = if entry.is_some() { SETTLED } else { Duration::ZERO };
                record.revocation.covers_ages_of(&unrecorded.revocation)
                    && self.tick_after(record.left.saturating_add(slack)) >= unrecorded.until
            }
            _ => entry.is_some() || is_lifted,
        };
        self.take_unrecorded(id, |unrecorded| unrecorded.revision <= revision && is_over(unrecorded));
    }

    /// Checks that a revocation would be accepted now, whatever its id.
    ///
    /// # Errors
    /// Fails with [`RevokeError::TooMany`] or, unless it is forced, with [`RevokeError::TooShort`].
    pub fn check(&self, revocation: &Revocation, forced: bool) -> Result<(), RevokeError> {
        if revocation.mode == Mode::Disconnect {
            return Ok(());
        }
        let key = self.key_of(&revocation.selector);
        // There is one for each id that extends, so their number is bounded by their callers.
        if !revocation.extends && self.shard(key).lock().revocations(key, self.now()) >= Self::MOST {
            return Err(RevokeError::TooMany);
        }
        if forced { Ok(()) } else { self.outlasts_tokens(revocation) }
    }

    fn outlasts_tokens(&self, revocation: &Revocation) -> Result<(), RevokeError> {
        match self.affected(&revocation.selector, revocation.issued_up_to).last_token {
            Some(needed) if needed > revocation.validity => Err(RevokeError::TooShort {
                needed: Duration::from_secs(needed.as_secs() + u64::from(needed.subsec_nanos() > 0)),
            }),
            _ => Ok(()),
        }
    }

    /// Puts an entry of the log into effect, wherever it comes from: an operator, another node, or
    /// the log that is loaded at the start. Does not write to the log.
    ///
    /// A revocation whose validity ran out on the way still terminates the connections. If a
    /// connection panics when it is notified, the others are still notified. The [`Kill`] of a lift
    /// does nothing.
    pub fn apply(&self, entry: &Entry) -> Kill {
        let now = self.0.clock.now();
        match entry {
            Entry::Revoked { seq, revocation, replaces } => {
                self.apply_since(revocation, *seq, replaces.as_ref(), now)
            }
            Entry::Lifted { of, selector } => {
                self.take_back(selector, *of);
                Kill::nothing(self.clone())
            }
        }
    }

    fn apply_since(
        &self,
        revocation: &Revocation,
        seq: Seq,
        replaces: Option<&Replaced>,
        asked: Instant,
    ) -> Kill {
        let until = self.tick_after(revocation.validity);
        let kill = self.apply_until(revocation, seq, replaces.map(|replaced| replaced.seq), asked, until);
        if let Some(replaced) = replaces.filter(|replaced| replaced.selector != revocation.selector) {
            self.take_back(&replaced.selector, replaced.seq);
        }
        kill
    }

    fn apply_until(
        &self,
        revocation: &Revocation,
        seq: Seq,
        replaces: Option<Seq>,
        asked: Instant,
        until: Tick,
    ) -> Kill {
        self.announce(&revocation.selector);
        let key = self.key_of(&revocation.selector);
        let issued_up_to = issued_bound(revocation.issued_up_to);
        let (bar, cause) = match revocation.mode {
            Mode::Revoke => (Some(Bar { seq, until, issued_up_to }), Cause::Revoked),
            Mode::Disconnect => (None, Cause::Disconnected),
        };
        let order = Order { bar, replaces, tokens: self.tokens(revocation.issued_up_to) };
        self.end(key, &order, cause, Some((seq, asked)))
    }

    /// Calls the observer of [`Sessions::on_revocation`].
    fn announce(&self, selector: &Selector) {
        if let Some(observer) = self.0.revoking.get().filter(|_| selector.mark_kind().is_none()) {
            let selector = self.canonical(selector);
            // The panic hook reports a panic; the revocation must be put in force all the same.
            drop(catch_unwind(AssertUnwindSafe(|| observer(&selector))));
        }
    }

    pub(super) fn end(&self, key: Key, order: &Order, cause: Cause, of: Option<(Seq, Instant)>) -> Kill {
        let now = self.now();
        let revoke = |key: Key| (key, self.shard(key).lock().revoke(key, order, now));
        let revoked: Vec<(Key, Revoked)> = key.places().map(revoke).collect();
        if revoked.iter().any(|(_, revoked)| revoked.new) {
            self.0.blacklisted_ever.fetch_add(1, Ordering::Relaxed);
        }
        let has_taken = revoked.iter().any(|(_, revoked)| revoked.taken.is_some());
        let closed = of.filter(|_| has_taken).and(self.0.closed.get().cloned());
        let since = of.map_or_else(|| self.0.clock.now(), |(_, asked)| asked);
        Kill::new(self.clone(), revoked, Ending::new(cause, since, closed), of.map(|(seq, _)| seq))
    }

    /// Lifts a revocation: its tokens are legal again, unless another revocation selects them.
    /// Returns its record; `None` if there is no such revocation. Blocks for as long as the log
    /// does.
    ///
    /// # Errors
    /// Fails if it is not certain that the log has removed it. It then stays in force.
    pub fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        let lifted = self.0.log.lift(id, by)?;
        if let Some(record) = &lifted {
            self.take_back(&record.revocation.selector, record.seq);
        }
        let unrecorded = self.take_unrecorded(id, |_| true).pop();
        Ok(lifted.or_else(|| Some(self.record_of(unrecorded?))))
    }

    /// Removes an entry from the blacklist. If it has not been added yet, it never will be.
    fn take_back(&self, selector: &Selector, seq: Seq) {
        for key in self.key_of(selector).places() {
            self.shard(key).lock().lift(key, seq);
        }
    }

    /// Removes revocations of an id that are in force without being in the log.
    fn take_unrecorded(&self, id: &RevocationId, which: impl Fn(&Unrecorded) -> bool) -> Vec<Unrecorded> {
        let mut by_id = self.0.unrecorded_by_id.lock();
        let Some(of_id) = by_id.get_mut(id) else { return Vec::new() };
        let taken: Vec<Unrecorded> = of_id.extract_if(.., |unrecorded| which(unrecorded)).collect();
        if of_id.is_empty() {
            by_id.remove(id);
        }
        drop(by_id);
        for unrecorded in &taken {
            self.take_back(&unrecorded.revocation.selector, unrecorded.seq);
        }
        taken
    }

    /// Returns the record that a revocation would have if it were in the log.
    fn record_of(&self, Unrecorded { seq, revocation, .. }: Unrecorded) -> Record {
        let (accepted_at, left) = (self.0.clock.wall(), revocation.validity);
        let receipts = BTreeMap::new();
        Record { seq, revocation, accepted_at, left, receipts, revision: 0, in_stream: false }
    }

    /// What a revocation would do now.
    pub fn affected(&self, selector: &Selector, issued_up_to: Option<u64>) -> Affected {
        let (mut connections, mut last) = (0, None);
        for key in self.key_of(selector).places() {
            let (count, latest) = self.shard(key).lock().affected(key, self.tokens(issued_up_to));
            (connections, last) = (connections + count, last.max(latest));
        }
        let now = self.0.clock.now().saturating_duration_since(self.0.origin);
        let left = |last: Tick| last.time().saturating_sub(now);
        Affected { connections, last_token: last.map(left) }
    }

    /// Returns the bound for a revocation of all tokens issued until now, in seconds since 1970. If
    /// the clock of an issuer is ahead, tokens of open connections can have a later `iat`. The
    /// bound covers these too, so that they do not become legal again when this node's clock has
    /// caught up.
    pub fn issued_up_to_now(&self, selector: &Selector) -> u64 {
        let moment = self.moment();
        let youngest = |key: Key| self.shard(key).lock().youngest_skewed(key, moment);
        self.key_of(selector).places().map(youngest).fold(moment.now(), u32::max).into()
    }

    fn tokens(&self, issued_up_to: Option<u64>) -> Tokens {
        issued_up_to.map_or(Tokens::All, |_| Tokens::IssuedUpTo(issued_bound(issued_up_to), self.moment()))
    }
}

/// A revocation in force that is not in the log, because storing it failed or has not happened yet.
#[derive(Clone)]
pub(crate) struct Unrecorded {
    seq: Seq,
    /// Which change of its id it is in the stream; 0 if it was accepted here.
    revision: u32,
    until: Tick,
    revocation: Revocation,
}

/// How much shorter a revocation may be in the log than it was in force before it was recorded:
/// what came directly and what came through the stream were on their way for different times.
const SETTLED: Duration = Duration::from_secs(1);

/// Limit of ids whose unrecorded revocations can be lifted. Further ones stay in force until they
/// expire or the process exits.
const UNRECORDED: usize = 4096;

/// Returns the bound as an entry stores it: the greatest `iat` that is selected, limited to the
/// range of an entry.
pub(super) fn issued_bound(issued_up_to: Option<u64>) -> u32 {
    issued_up_to.map_or(ALL, |second| u32::try_from(second).unwrap_or(ALL).min(ALL - 1))
}
