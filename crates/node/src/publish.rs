//! Publishes events.

use std::sync::Arc;

use bytes::Bytes;
use connection::TooLarge;
use event::Event;
use event::http::Submission;

use crate::bus::{Offered, Stamp};
use crate::node::Node;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrigin {
    /// It was published at this node.
    Here,
    /// It was published at another node, with this stamp if the bus gives any. It is not offered to
    /// the others again.
    Peer(Option<Stamp>),
    /// Every node receives it by itself, so it is offered to none.
    Everywhere,
}

impl Node {
    /// Publishes the events of a request in order, and returns the answer to the publisher: the
    /// event, or a list of a batch's events.
    ///
    /// # Errors
    /// Fails if an event does not fit into an empty outbox, or into a message to the other nodes.
    /// Nothing is published then.
    pub async fn submit(&self, submission: Submission) -> Result<Bytes, TooLarge> {
        let accepted = submission.accepted();
        TooLarge::check(&submission.events, self.max_event(EventOrigin::Here))?;
        for event in submission.events {
            self.publish(event, EventOrigin::Here).await;
        }
        Ok(accepted)
    }

    /// Publishes an event of a [`Source`](crate::Source). Waits while the queue to the other nodes
    /// is full.
    ///
    /// # Errors
    /// Fails if it does not fit into an empty outbox, or into a message to the other nodes. It is
    /// not published then.
    pub async fn take(&self, event: Event, origin: EventOrigin) -> Result<(), TooLarge> {
        TooLarge::check(std::slice::from_ref(&event), self.max_event(origin))?;
        match self.bus().filter(|_| origin == EventOrigin::Here) {
            Some(bus) => {
                let place = bus.reserve(&event).await;
                self.deliver(event, |_| place()).await;
            }
            None => _ = self.deliver(event, |_| None).await,
        }
        Ok(())
    }

    /// Resolves when every event that was taken before has been written to the local connections,
    /// or is in their outboxes, and has been flushed to what carries it to the other nodes. Until
    /// then, a crash may lose it. May wait for as long as the others cannot be reached.
    pub async fn flushed(&self) {
        self.hub().settled().await;
        if let Some(bus) = self.bus() {
            bus.flushed().await;
        }
    }

    fn max_event(&self, origin: EventOrigin) -> usize {
        let of_cluster = self.bus().filter(|_| origin == EventOrigin::Here).map(|bus| bus.max_event());
        self.hub().config().max_event_bytes.min(of_cluster.unwrap_or(usize::MAX))
    }

    /// Makes sure that events of these types come from the other nodes, if there are any.
    pub async fn want<'t>(&self, types: impl IntoIterator<Item = &'t str>) {
        if let Some(bus) = self.bus() {
            bus.want(types.into_iter().collect()).await;
        }
    }

    /// Returns the types of events that have subscriptions at this node.
    pub fn event_types(&self) -> Vec<Arc<str>> {
        self.hub().event_types()
    }

    /// Delivers an event to every connection that subscribed to it, and offers it to the other
    /// nodes if it was published here. Returns the number of this node's connections that receive
    /// it.
    ///
    /// Waits while too many bytes are in delivery. The event may still be in delivery when this
    /// returns; events that are published one after the other keep their order.
    pub async fn publish(&self, event: Event, origin: EventOrigin) -> usize {
        let bus = self.bus().filter(|_| origin == EventOrigin::Here);
        let mut is_missed = false;
        let event_type = event.clone();
        let count = self.deliver(event, |event| match (origin, bus.map(|bus| bus.offer(event))) {
            (EventOrigin::Peer(stamp), _) => stamp,
            (_, Some(Offered::Taken(stamp))) => stamp,
            (_, Some(Offered::Full(stamp))) => {
                is_missed = true;
                stamp
            }
            (_, None) => None,
        });
        let count = count.await;
        if is_missed {
            let event_type = event_type.event_type();
            tracing::warn!(event_type, "the other nodes miss an event: the queue is full");
        }
        count
    }

    /// Delivers an event to its receivers at this node. `stamp` is called once, when the event
    /// takes its position.
    async fn deliver(&self, event: Event, stamp: impl FnOnce(&Event) -> Option<Stamp> + Send) -> usize {
        let bucket = self.bus().and_then(|bus| bus.bucket_of(event.event_type()));
        let ledger = bucket.map(|bucket| (self.ledger(), bucket));
        let offered = event.clone();
        let taken = |position| {
            let stamp = stamp(&offered);
            if let Some((ledger, bucket)) = ledger {
                ledger.record(position, bucket, stamp);
            }
        };
        self.hub().publish_at(event, taken).await
    }

    /// Records that events of a type, or of any, were lost on their way to this node. Resolves when
    /// their subscribers have been notified, or are about to be.
    pub async fn lost(&self, event_type: Option<&str>) {
        self.hub().lost(event_type).await;
    }

    /// Records that everything up to a stamp was received, or lost and [recorded](Node::lost) as
    /// such.
    pub fn passed(&self, stamp: Stamp) {
        self.ledger().pass(stamp);
    }

    /// Forgets how far this node has got in these buckets, which it does not receive any more.
    pub fn forget(&self, buckets: &[u16]) {
        self.ledger().forget(buckets);
    }
}
