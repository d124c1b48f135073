//! Sends the queue to the other nodes, and says what follows or does not.

use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::heads::{Heads, LOOK};
use super::kept::Kept;
use super::note::Note;
use super::outgoing::Queued;
use super::{Events, PACE};

/// Limit of events that are sent in one turn.
pub(super) const TURN: usize = 64;

impl Events {
    pub(super) async fn send(&self, queued: Option<mpsc::Receiver<Queued>>) {
        let Some(mut queued) = queued else { return std::future::pending().await };
        let mut turn = Vec::with_capacity(TURN);
        let mut kept = Kept::new(&*self.wire);
        let mut heads = Heads::new(self.wire.connections());
        let (mut handled, mut wanted_flush) = (0, self.wanted_flush.subscribe());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let begun = Instant::now();
            tokio::select! {
                count = queued.recv_many(&mut turn, TURN) => if count == 0 {
                    return;
                },
                // The sender lives as long as this.
                _ = wanted_flush.changed() => {}
                _ = looks.tick() => self.send_heads_due(&mut heads, &mut kept).await,
                () = self.heads_asked.notified() => self.send_heads_due(&mut heads, &mut kept).await,
            }
            handled += turn.len() as u64;
            let (is_full, is_empty) = (turn.len() == TURN, turn.is_empty());
            for queued in turn.drain(..) {
                self.send_one(&queued, &mut kept).await;
                heads.sent(queued.bucket, begun);
            }
            let wanted = *wanted_flush.borrow_and_update();
            if kept.is_full() || (wanted > *self.confirmed.borrow() && handled >= wanted) {
                kept.confirm().await;
                self.confirmed.send_replace(handled);
            }
            if !is_full && !is_empty {
                sleep_until(begun + PACE).await;
            }
        }
    }

    async fn send_one(&self, queued: &Queued, kept: &mut Kept<'_>) {
        let Queued { event, bucket, number, .. } = queued;
        let keeps = self.keeps.load(Ordering::Relaxed);
        for (last, count) in self.outgoing.unsent_before(*bucket, *number) {
            self.send_note(*bucket, last, Note::Unsent(count), kept).await;
        }
        let message = self.encode(*bucket, *number, event.json());
        let is_sent = kept.publish(*bucket, message, keeps).await;
        self.outgoing.handled(*bucket, *number, event.json().len());
        if is_sent {
            self.metrics.sent.inc();
        } else {
            // Counted here: the note that takes its number says so.
            self.outgoing.not_sent(*bucket, *number, 1);
            self.metrics.lost.inc();
        }
    }

    /// Tells the other nodes which numbers were given in buckets where nothing follows, so that
    /// they notice if the last events were lost.
    async fn send_heads_due(&self, heads: &mut Heads, kept: &mut Kept<'_>) {
        if !self.wire.is_open() {
            return;
        }
        let asked = std::mem::take(&mut *self.asked.lock());
        let now = Instant::now();
        if heads.reconnected(self.wire.connections()) {
            heads.ask(self.outgoing.used(), now);
        }
        heads.ask(asked, now);
        for bucket in heads.due(now) {
            for (last, count) in self.outgoing.unsent_now(bucket) {
                self.send_note(bucket, last, Note::Unsent(count), kept).await;
            }
            // If more is queued, that tells it.
            if let Some((number, last)) = self.outgoing.head(bucket) {
                self.send_note(bucket, number, Note::Head(last), kept).await;
            }
        }
    }

    async fn send_note(&self, bucket: u16, number: u64, note: Note, kept: &mut Kept<'_>) {
        let message = self.encode_note(bucket, number, note);
        let is_sent = kept.publish(bucket, message, self.keeps.load(Ordering::Relaxed)).await;
        match note {
            _ if is_sent => {}
            Note::Head(_) => _ = self.asked.lock().insert(bucket),
            Note::Unsent(count) => self.outgoing.not_sent(bucket, number, count),
        }
    }
}
