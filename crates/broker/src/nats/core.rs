//! Core NATS: subscriptions to subjects, at most once.

use std::pin::pin;

use ::nats::{AccessError, Unread, UnreadMessages};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use node::{EventOrigin, Node};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{NAME, NatsSource, Reach, decode};
use crate::intake::Feed;
use crate::metrics::Failure;

/// Limit of the bytes of all messages that are received but not read. Further ones are lost.
const UNREAD: usize = 32 << 20;

impl NatsSource {
    /// Receives and publishes. Returns if nothing can follow: the subscriptions are drained, or the
    /// task of the library has stopped.
    pub(super) async fn follow_subjects(&self, client: &Client, node: &Node) -> Result<(), AccessError> {
        let (unread, _) = Unread::new(UNREAD);
        let subjects = self.config.subjects.iter();
        let mut feeds: FuturesUnordered<_> =
            subjects.map(|subject| self.follow(client, subject, &unread, node)).collect();
        while let Some(followed) = feeds.next().await {
            followed?;
            // One that stops too soon receives nothing more. The others would hide it.
            if !self.lifecycle.is_leaving() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Receives and publishes what comes on one subject, in order.
    async fn follow(
        &self,
        client: &Client,
        subject: &str,
        all: &Unread,
        node: &Node,
    ) -> Result<(), AccessError> {
        let origin = match self.config.reach {
            Reach::Group(_) => EventOrigin::Here,
            Reach::Every => EventOrigin::Everywhere,
        };
        let feed = self.intake.feed(NAME, subject, origin);
        let (client, subject, reach) = (client.clone(), subject.to_owned(), self.config.reach.clone());
        let mut since = Instant::now();
        let mut subscriber = subscribe(&client, &subject, &reach).await?;
        let (unread, messages) = all.beside();
        // In a task of its own, since the library drops what it does not take.
        let mut receiving = JoinSet::new();
        let (intake, link, of) = (self.intake.clone(), self.link.clone(), feed.clone());
        receiving.spawn(async move {
            let overflow = || drop(intake.refuse(&of, Failure::Overflow, &"more came than can be read"));
            loop {
                let taking = pin!(unread.take_all(subscriber, overflow));
                let refused = pin!(link.refused(&subject, since));
                let Either::Right(_) = select(taking, refused).await else { return };
                since = Instant::now();
                let Ok(again) = subscribe(&client, &subject, &reach).await else { return };
                subscriber = again;
            }
        });
        self.publish_all(messages, &feed, node).await;
        Ok(())
    }

    async fn publish_all(&self, mut messages: UnreadMessages, feed: &Feed, node: &Node) {
        while let Some(message) = messages.next().await {
            let event = decode(message.headers, message.payload, &self.intake);
            // At most once: what is refused is counted, and nothing else can be done.
            drop(self.intake.take(node, feed, event).await);
        }
    }
}

async fn subscribe(client: &Client, subject: &str, reach: &Reach) -> Result<Subscriber, AccessError> {
    let subscriber = match reach {
        Reach::Group(group) => client.queue_subscribe(subject.to_owned(), group.clone()).await,
        Reach::Every => client.subscribe(subject.to_owned()).await,
    };
    subscriber.map_err(|error| AccessError::Refused(error.to_string()))
}
