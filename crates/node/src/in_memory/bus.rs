//! The bus of a node of a network.

use std::sync::Arc;
use std::time::Duration;

use event::Event;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use session::{NodeName, Operation, Place, Revocation, RevocationId};
use tokio::time::timeout;

use super::{Message, Network};
use crate::bus::{Bus, IdTaken, NoQuorum, Offered, Reservation};
use crate::node::Node;
use crate::publish::EventOrigin;
use crate::spread::{Reach, Spread};

/// How often leases are looked at, which expire without a message.
const TICK: Duration = Duration::from_millis(20);

pub(super) struct MemoryBus {
    pub(super) network: Network,
    pub(super) name: NodeName,
}

impl Bus for MemoryBus {
    fn offer(&self, event: &Event) -> Offered {
        let mut traffic = self.network.0.traffic.lock();
        traffic.offered += 1;
        let is_cut = traffic.is_cut(&self.name);
        for (name, inbox) in &mut traffic.inboxes {
            if *name != self.name && !inbox.cut && !is_cut {
                inbox.queue.push_back(Message::Event(event.clone()));
            }
        }
        drop(traffic);
        self.network.0.changed.notify_waiters();
        Offered::Taken(None)
    }

    fn reserve<'b>(&'b self, event: &'b Event) -> BoxFuture<'b, Reservation> {
        let (network, name, event) = (self.network.clone(), self.name.clone(), event.clone());
        let place: Reservation = Box::new(move || {
            Self { network, name }.offer(&event);
            None
        });
        std::future::ready(place).boxed()
    }

    fn flushed(&self) -> BoxFuture<'_, ()> {
        // The queue is that of the other node.
        std::future::ready(()).boxed()
    }

    fn want<'b>(&'b self, _: Vec<&'b str>) -> BoxFuture<'b, ()> {
        // Every event goes to every node.
        async {}.boxed()
    }

    fn max_event(&self) -> usize {
        usize::MAX
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn announce(&self, revocation: Revocation) -> BoxFuture<'static, Result<Spread, IdTaken>> {
        let number = self.network.announce(&self.name, Operation::Revoke(revocation));
        self.network.clone().completed(number).boxed()
    }

    fn spread(&self, id: &RevocationId) -> Option<Spread> {
        let mut traffic = self.network.0.traffic.lock();
        let number = traffic.latest(&self.name, id)?;
        traffic.spread(number).ok()
    }

    fn lift(
        &self,
        id: RevocationId,
        by: Option<String>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Option<Spread>, NoQuorum>> {
        let lift = {
            let traffic = self.network.0.traffic.lock();
            match traffic.is_cut(&self.name) {
                true => Err(NoQuorum { may_follow: false }),
                false => Ok(traffic.is_revoked(&id).then_some(Operation::Lift { id, by })),
            }
        };
        let number = lift.map(|lift| lift.map(|lift| self.network.announce(&self.name, lift)));
        let network = self.network.clone();
        async move {
            let Some(number) = number? else { return Ok(None) };
            let completed = timeout(within, network.clone().completed(number)).await;
            let spread = completed.unwrap_or_else(|_| network.0.traffic.lock().spread(number));
            // No lift takes an id.
            Ok(spread.ok())
        }
        .boxed()
    }

    fn run(self: Arc<Self>, node: Node) -> BoxFuture<'static, ()> {
        async move {
            loop {
                match self.network.next(&self.name).await {
                    Message::Event(event) => _ = node.publish(event, EventOrigin::Peer(None)).await,
                    Message::Operation { number, place, from, operation } => {
                        self.apply(&node, number, place, &from, operation).await;
                    }
                    Message::Acknowledgement { number, from, id, receipt } => {
                        if let Some(receipt) = receipt {
                            node.receive_receipt(id, from.clone(), receipt).await;
                        }
                        self.network.0.traffic.lock().confirm(number, from, receipt);
                        self.network.0.changed.notify_waiters();
                    }
                }
            }
        }
        .boxed()
    }
}

impl MemoryBus {
    async fn apply(&self, node: &Node, number: u64, place: Place, from: &NodeName, operation: Operation) {
        let id = operation.id().clone();
        let receipt = match &operation {
            // It is in force at its own node already, whose log learns its place.
            Operation::Revoke(revocation) if *from != self.name => {
                Some(node.enforce(revocation, place.revision).await)
            }
            _ => None,
        };
        let recorded = match node.record(vec![(operation, place)]).await {
            Ok(recorded) => recorded,
            Err(error) => {
                return tracing::error!(%error, "an operation of another node was not recorded");
            }
        };
        if let (Some(Some(seq)), Some(receipt)) = (recorded.first(), receipt) {
            node.store_receipt(*seq, receipt);
        }
        self.network.change(&self.name, |inbox| inbox.applied = place.position.sequence);
        self.network.change(from, |inbox| {
            let from = self.name.clone();
            inbox.queue.push_back(Message::Acknowledgement { number, from, id, receipt });
        });
    }
}

impl Network {
    fn announce(&self, by: &NodeName, operation: Operation) -> u64 {
        let number = self.0.traffic.lock().announce(by, operation);
        self.0.changed.notify_waiters();
        number
    }

    async fn completed(self, number: u64) -> Result<Spread, IdTaken> {
        loop {
            let changed = self.0.changed.notified();
            let spread = self.0.traffic.lock().spread(number)?;
            if spread.reach == Reach::Complete {
                return Ok(spread);
            }
            // Whether it has changed, or a lease may have expired meanwhile: it is looked at again.
            let _ = timeout(TICK, changed).await;
        }
    }
}
