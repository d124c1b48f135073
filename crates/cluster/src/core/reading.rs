//! Reads the stream in order: nothing is applied before everything that was stored earlier.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use session::{Epoch, Position};

use super::applying::{Batch, Supply};
use super::{Action, Core, Now};
use crate::flaw::Flaw;
use crate::message::{Content, Stored};

/// How long a gap may last before the missing messages are fetched: another server may be late.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(3);

/// How long to wait after a fetch that brought nothing.
const FETCH_AGAIN: Duration = Duration::from_millis(100);

/// After this time without a message, the ones that a node waits for may have expired.
const STALLED: Duration = Duration::from_millis(500);

/// How many digests are kept to recognise repeated messages.
const REMEMBERED: u64 = 4096;

/// How many messages are read again when others are missing behind them.
const OVERLAP: u64 = 64;

/// Limit of messages that are kept ahead of a gap. Further ones are fetched later.
const AHEAD: usize = 16_384;

/// Limit of messages that are read but not applied. At the limit, nothing is fetched.
const UNAPPLIED: usize = 32_768;

/// What the node has read of the stream.
pub(super) struct Reading {
    epoch: Epoch,
    /// Everything up to here is applied.
    pub(super) applied: u64,
    /// Everything up to here is read.
    pub(super) taken: u64,
    /// The last sequence that is known to exist.
    target: u64,
    pub(super) unapplied: VecDeque<Stored>,
    ahead: BTreeMap<u64, Stored>,
    /// The digests of the last messages; `None` for a message that was replaced by a later one
    /// before it was read.
    digests: BTreeMap<u64, Option<u64>>,
    gap_since: Option<Now>,
    fetching_since: Option<Now>,
    /// Since when fetches have brought nothing.
    empty_since: Option<Now>,
    pub(super) batch: Option<Batch>,
    pub(super) supplied: VecDeque<Supply>,
    /// A message named another epoch, or no own beat came back for long, so the stream may be
    /// another one.
    pub(super) in_doubt: bool,
    /// The last messages are to be read again from this sequence on, to compare them with what was
    /// read before.
    pub(super) compares: Option<u64>,
    /// Only the last few of them are read again, and none so far was read before.
    lacks_proof: bool,
    /// Messages behind this sequence were skipped that later ones have replaced, and those may not
    /// be applied yet. An own beat that was sent afterwards proves that they are: it is stored
    /// behind them.
    pub(super) certain: Option<u64>,
    /// When the last message was stored that was read or seen by inspection.
    newest: u64,
}

/// What is known of the message at a sequence that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It had this digest.
    Digest(u64),
    /// A later message of its subject had replaced it.
    Replaced,
    /// It was read too long ago.
    Forgotten,
}

impl Reading {
    pub(super) fn new(position: Position) -> Self {
        Self {
            epoch: position.epoch,
            applied: position.sequence,
            taken: position.sequence,
            target: position.sequence,
            unapplied: VecDeque::new(),
            ahead: BTreeMap::new(),
            digests: BTreeMap::new(),
            gap_since: None,
            fetching_since: None,
            empty_since: None,
            batch: None,
            supplied: VecDeque::new(),
            in_doubt: false,
            compares: None,
            lacks_proof: false,
            certain: None,
            newest: 0,
        }
    }

    /// Begins to read the stream of `epoch` after `sequence`. A batch that is being applied is
    /// finished first.
    pub(super) fn begin(&mut self, epoch: Epoch, sequence: u64, last: u64, newest: u64) {
        let batch = self.batch.take();
        *self = Self::new(Position { epoch, sequence });
        self.target = last.max(sequence);
        self.newest = newest;
        // Its sequences belong to the stream of before.
        self.batch = batch.map(|batch| Batch { sequences: Vec::new(), ..batch });
    }

    /// Forgets what was read and is not applied yet: it belongs to a stream that has gone back, and
    /// proves nothing for the one that is read next.
    pub(super) fn abandon(&mut self) {
        self.unapplied.clear();
        self.ahead.clear();
        if let Some(batch) = &mut self.batch {
            batch.sequences.clear();
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch, sequence: self.applied }
    }

    /// Returns the position up to which whatever was stored is in force: a message that was skipped
    /// may have been replaced by one that is not applied yet.
    pub(super) fn certain_position(&self) -> Position {
        let sequence = self.certain.map_or(self.applied, |certain| certain.min(self.applied));
        Position { epoch: self.epoch, sequence }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    /// Reads the last messages again, to compare them with what was read.
    pub(super) fn compare(&mut self) {
        self.compares = Some((self.taken + 1).saturating_sub(REMEMBERED).max(1));
        self.lacks_proof = false;
    }

    /// Reads the last few messages again with those that are missing: the stream may have gone
    /// back, and may have grown again past what was read.
    fn compare_last(&mut self) {
        if self.compares.is_none() {
            self.compares = Some((self.taken + 1).saturating_sub(OVERLAP).max(1));
            self.lacks_proof = true;
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Forgets that messages after `last` up to `known` may exist: the stream has none of them.
    /// What came early may be of a stream that is gone.
    pub(super) fn expect_no_more_than(&mut self, last: u64, known: u64) {
        let later = self.ahead.split_off(&(known + 1));
        self.ahead.split_off(&(last + 1));
        self.ahead.extend(later);
        if self.target <= known {
            self.target = last.max(self.taken);
        }
    }

    /// Returns the last sequence that is known to exist.
    pub(super) fn target(&self) -> u64 {
        self.target
    }

    /// Records that the stream holds a message of this sequence.
    pub(super) fn expect(&mut self, sequence: u64) {
        self.target = self.target.max(sequence);
    }

    /// Returns what is known of the message at a sequence that was read.
    pub(super) fn known(&self, sequence: u64) -> Known {
        match self.digests.get(&sequence) {
            Some(Some(digest)) => Known::Digest(*digest),
            Some(None) => Known::Replaced,
            None => Known::Forgotten,
        }
    }

    /// Returns whether the stream may be another one than was read.
    pub(super) fn is_doubtful(&self) -> bool {
        self.in_doubt || self.compares.is_some()
    }

    /// Returns whether the stream answers, but for a while has not held what it is asked for.
    pub(super) fn is_stalled(&self, now: Now) -> bool {
        self.empty_since.is_some_and(|since| now >= since + STALLED)
    }

    /// Returns whether messages that were read are still to be applied.
    pub(super) fn is_applying(&self) -> bool {
        self.batch.is_some() || !self.unapplied.is_empty()
    }

    /// Returns when the newest message was stored that this node knows of.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns how long ago a message was stored, at least: both times are by the clock of NATS.
    pub(super) fn age(&self, stored_at: u64) -> Duration {
        Duration::from_millis(self.newest.saturating_sub(stored_at))
    }

    /// Takes the next message; those that are missing before it do not exist any more.
    fn take(&mut self, message: Stored) {
        let sequence = message.position.sequence;
        self.skip_to(sequence - 1);
        self.remember(sequence, Some(message.digest));
        self.taken = sequence;
        self.newest = self.newest.max(message.stored_at);
        self.expect(sequence);
        self.empty_since = None;
        self.unapplied.push_back(message);
    }

    /// Records that the messages up to this sequence do not exist any more.
    fn skip_to(&mut self, sequence: u64) {
        let first = (self.taken + 1).max(sequence.saturating_sub(REMEMBERED));
        for replaced in first..=sequence {
            self.remember(replaced, None);
        }
        self.taken = self.taken.max(sequence);
    }

    fn remember(&mut self, sequence: u64, digest: Option<u64>) {
        self.digests.insert(sequence, digest);
        while self.digests.first_key_value().is_some_and(|(first, _)| first + REMEMBERED < sequence) {
            self.digests.pop_first();
        }
    }

    /// Takes messages that came early, as far as they follow without a gap.
    fn take_ahead(&mut self) {
        while let Some(first) = self.ahead.first_entry() {
            if *first.key() > self.taken + 1 {
                break;
            }
            let message = first.remove();
            if message.position.sequence > self.taken {
                self.take(message);
            }
        }
        if self.taken >= self.target {
            self.gap_since = None;
        }
    }
}

impl Core {
    /// Takes a message of the live path.
    pub(super) fn live(&mut self, mut message: Stored) {
        if self.recovery.is_catching_up() {
            // The age of operations is counted from the newest message.
            message.stored_at = self.clock.plausible(message.stored_at, self.now);
        }
        let sequence = message.position.sequence;
        if !self.recovery.is_reading() {
            return;
        }
        self.doubt(&message);
        let follows = self.recovery.is_following() && !self.has(Flaw::NoRollback);
        let reading = &mut self.reading;
        if sequence <= reading.taken {
            match reading.known(sequence) {
                Known::Digest(digest) => {
                    let repeated = digest == message.digest || self.flaws.has(Flaw::RepeatByNumber);
                    if !repeated && !self.flaws.has(Flaw::NoRollback) {
                        self.rolled_back("it has another message of a sequence that was read");
                    }
                }
                Known::Replaced => {}
                // Late, since thousands of messages were fetched meanwhile; or the stream has gone
                // back far, and this is a new message of it.
                Known::Forgotten if message.stored_at <= reading.newest => {}
                Known::Forgotten => self.suspect(),
            }
            return;
        }
        reading.expect(sequence);
        if reading.unapplied.len() >= UNAPPLIED {
            // It is fetched later.
            return;
        }
        if sequence == reading.taken + 1 || self.flaws.has(Flaw::NoContiguity) {
            reading.take(message);
            reading.take_ahead();
            return;
        }
        if reading.ahead.len() < AHEAD {
            reading.ahead.insert(sequence, message);
        }
        reading.gap_since.get_or_insert(self.now);
        if follows {
            reading.compare_last();
        }
    }

    /// Asks for the state of the stream if a message was sent in another epoch.
    fn doubt(&mut self, message: &Stored) {
        let has_epoch = matches!(message.content, Content::Operation(_) | Content::Beat(_));
        if has_epoch && message.position.epoch != self.reading.epoch && !self.has(Flaw::NoEpoch) {
            self.reading.in_doubt = true;
            self.lease.forget_beats();
        }
    }

    pub(super) fn fetched(&mut self, from: u64, messages: Vec<Stored>, upto: u64) {
        self.reading.fetching_since = None;
        if !self.recovery.is_reading() || from > self.reading.taken + 1 {
            return;
        }
        let before = self.reading.taken;
        let differs = |message: &Stored| {
            let sequence = message.position.sequence;
            sequence <= before
                && match self.reading.known(sequence) {
                    Known::Digest(digest) => {
                        digest != message.digest && !self.flaws.has(Flaw::RepeatByNumber)
                    }
                    Known::Replaced => true,
                    Known::Forgotten => false,
                }
        };
        if messages.iter().any(differs) && !self.has(Flaw::NoRollback) {
            self.rolled_back("it has another message of a sequence that was read");
            return;
        }
        let same = |message: &Stored| message.position.sequence <= before;
        self.reading.lacks_proof &= !messages.iter().any(same);
        let mut taken = 0;
        for message in messages {
            if message.position.sequence > self.reading.taken {
                self.doubt(&message);
                self.reading.take(message);
                taken += 1;
            }
        }
        // A server that lags behind knows less than the target: it has to be asked again.
        let is_end = match taken {
            0 => self.has(Flaw::EmptyIsEnd),
            _ => self.has(Flaw::PageIsEnd),
        };
        let is_end = is_end || self.has(Flaw::LaggingIsEnd);
        let upto = if is_end { self.reading.target } else { upto };
        let compared = self.reading.compares;
        if let Some(next) = compared.filter(|next| from <= *next) {
            self.reading.compares = Some(next.max(upto + 1)).filter(|next| *next <= before);
            if self.reading.compares.is_none() && self.reading.lacks_proof {
                self.suspect();
            }
        }
        self.reading.skip_to(upto);
        if self.reading.taken - before > taken && !self.has(Flaw::SkippedIsApplied) {
            self.reading.certain.get_or_insert(before);
            self.lease.forget_beats();
            self.lease_is_due();
        }
        self.reading.take_ahead();
        let progress = self.reading.taken > before;
        if progress {
            self.heard();
        }
        let progress = progress || self.reading.compares != compared;
        if progress {
            self.reading.empty_since = None;
        } else {
            self.reading.empty_since.get_or_insert(self.now);
        }
        if self.reading.taken < self.reading.target || self.reading.compares.is_some() {
            let since = if progress { self.now.saturating_sub(PATIENCE) } else { self.now + FETCH_AGAIN };
            self.reading.gap_since = Some(since);
        }
        self.tick_reading();
    }

    pub(super) fn not_fetched(&mut self) {
        self.reading.fetching_since = None;
        self.reading.gap_since = Some(self.now + FETCH_AGAIN);
    }

    pub(super) fn tick_reading(&mut self) {
        let reading = &mut self.reading;
        if !self.recovery.is_reading() || (reading.taken >= reading.target && reading.compares.is_none()) {
            return;
        }
        let since = *reading.gap_since.get_or_insert(self.now);
        let is_fetching = reading.fetching_since.is_some_and(|since| self.now < since + FETCH);
        if !is_fetching && self.now >= since + PATIENCE && reading.unapplied.len() < UNAPPLIED {
            reading.fetching_since = Some(self.now);
            let (from, target) = (reading.compares.unwrap_or(reading.taken + 1), reading.target);
            self.act(Action::Fetch { from, target });
        }
    }
}
