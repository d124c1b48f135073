//! Receives the events of the other nodes, and notices what is lost.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use event::{Event, ExtensionNames};
use futures_util::future::join_all;
use node::{EventOrigin, Node};
use seal::Incarnation;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::arrivals::SWEEP;
use super::message::{Content, Received};
use super::note::Note;
use super::{Events, bucket_of};

/// Limit of the types of a bucket that are named when an event of it was lost. With more, all are
/// meant.
const NAMED: usize = 64;

/// How often to look which other nodes there are.
const LOOK: Duration = Duration::from_secs(1);

/// How long a connection may be cut before that is noticed. Longer than the pings of NATS need.
const UNNOTICED: Duration = Duration::from_secs(30);

/// How often the other nodes are asked after another connection, and the pause between. They may
/// have to connect again too.
const QUESTIONS: usize = 10;
const AGAIN: Duration = Duration::from_secs(1);

/// A message that was received for the first time.
pub(super) struct Accepted {
    pub(super) received: Received,
    /// Whether events before it are missing, or it says so itself.
    pub(super) is_gap: bool,
}

impl Events {
    pub(super) async fn receive(&self, node: &Node) {
        loop {
            let (bucket, message) = self.wire.next().await;
            let Some(Accepted { received, is_gap }) = self.accept(bucket, &message) else { continue };
            if is_gap {
                lose(node, bucket).await;
            }
            let Content::Event(json) = received.content else {
                node.passed(received.stamp);
                continue;
            };
            // The node where it was published has checked it by its own rules.
            match Event::from_json_with(json, ExtensionNames::Any) {
                Ok(event) => {
                    self.metrics.received.inc();
                    node.publish(event, EventOrigin::Peer(Some(received.stamp))).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "an event of another node cannot be read");
                    self.metrics.refused.inc();
                    lose(node, bucket).await;
                    node.passed(received.stamp);
                }
            }
        }
    }

    /// Returns what is in a message, unless it is not authentic, was received before, or is of a
    /// bucket that this node does not receive.
    pub(super) fn accept(&self, bucket: u16, message: &Bytes) -> Option<Accepted> {
        let Some(mut received) = self.decode(bucket, message) else {
            self.metrics.refused.inc();
            return None;
        };
        // A server that was stopped sends back what it had got on an earlier connection of this
        // node.
        if received.stamp.life == self.life {
            return None;
        }
        let (missing, unsent) = match &received.content {
            Content::Note(Note::Head(last)) => {
                received.stamp.number = *last;
                (self.arrivals.numbers.pass(received.stamp)?, 0)
            }
            Content::Note(Note::Unsent(count)) => (self.arrivals.numbers.receive(received.stamp)?, *count),
            Content::Event(_) => (self.arrivals.numbers.receive(received.stamp)?, 0),
        };
        // The note itself stands for an event. Its publisher has counted them.
        self.metrics.lost.inc_by((missing + unsent.min(1)).saturating_sub(unsent));
        Some(Accepted { received, is_gap: missing + unsent > 0 })
    }

    /// Finds out what was lost whenever there is another connection: every node that may have
    /// published meanwhile has to answer. Never returns.
    pub(super) async fn find_lost(&self, node: &Node) {
        let mut interruptions = self.wire.interruptions();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The other lives, and when they were seen last.
        let mut seen: HashMap<Incarnation, Instant> = HashMap::new();
        let mut is_cut = false;
        loop {
            let is_new = tokio::select! {
                Ok(()) = interruptions.changed() => true,
                _ = looks.tick() => false,
            };
            let now = Instant::now();
            seen.extend(node.peer_lives().into_iter().map(|life| (life, now)));
            if is_new {
                self.find_lost_of(node, &seen.keys().copied().collect::<Vec<_>>()).await;
            }
            let is_open = self.wire.is_open();
            is_cut = !is_open || (is_cut && !is_new && self.wire.connections() > 1);
            if !is_cut {
                seen.retain(|_, seen| now - *seen <= UNNOTICED);
            }
        }
    }

    async fn find_lost_of(&self, node: &Node, lives: &[Incarnation]) {
        for _ in 0..QUESTIONS {
            if node.find_lost(lives, &self.arrivals.numbers).await {
                tracing::debug!("events: it is known what was lost with the connection");
                return;
            }
            sleep(AGAIN).await;
        }
        tracing::warn!("events: some may be lost with the connection, another node does not answer");
        node.lost(None).await;
    }

    /// Compares the buckets that are received with what clients want. Never returns.
    pub(super) async fn sweep(&self, node: &Node) {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let present = node.event_types().iter().map(|name| bucket_of(name)).collect();
            join_all(self.arrivals.ask_for(present)).await;
            self.arrivals.forget_unwanted();
            let lives = node.peer_lives();
            self.arrivals.numbers.tidy(|life| lives.contains(&life));
        }
    }
}

/// Records that events of a bucket were lost.
async fn lose(node: &Node, bucket: u16) {
    let types = node.event_types();
    let of_bucket = types.iter().filter(|name| bucket_of(name) == bucket);
    let named: Vec<_> = of_bucket.take(NAMED + 1).collect();
    if named.len() > NAMED {
        return node.lost(None).await;
    }
    for name in named {
        node.lost(Some(name)).await;
    }
}
