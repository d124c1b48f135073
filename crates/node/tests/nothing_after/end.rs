//! The final checks of a case: all clients read what is left, the node shuts down, and the results
//! are compared with the model.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use crate::model::State;
use crate::plan::{Transport, Which, Who};
use crate::world::World;

impl World {
    /// # Panics
    /// Panics if a client got something that it must not get, or did not get something that it
    /// must.
    pub(crate) async fn end(&mut self, leaves_first: bool) {
        self.open_fence();
        while !self.kills.is_empty() {
            self.finish(0, false);
        }
        if leaves_first {
            self.node_leaves().await;
        } else {
            self.read_all().await;
            self.compare();
            self.node_leaves().await;
        }
        self.read_all().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        for (n, client) in self.clients.iter().enumerate() {
            assert_eq!(client.late(), None, "client {n}, {:?}", client.transport);
            assert_eq!(client.unfenced(), None, "client {n}, {:?}", client.transport);
            let (seen, sent) = (client.events(), &self.model.members[n].events);
            assert!(sent.starts_with(&seen), "client {n} has got {seen:?} of {sent:?}");
        }
        assert_eq!(self.metrics.payload_after_kill(), 0);
        assert_eq!(self.hub.all().count(), 0, "connections are left");
        let counts = self.sessions.counts();
        assert_eq!((counts.sessions, counts.connections), (0, 0), "registrations are left");
    }

    /// The node begins to shut down, which sends what is queued. Then both users are revoked, which
    /// must discard it. No other task runs in between, so that even parked polls have an event to
    /// return and have not returned it.
    async fn node_leaves(&mut self) {
        self.poll_all().await;
        self.publish(0, false).await;
        self.publish(1, false).await;
        let node = self.node.clone();
        for member in &mut self.model.members {
            let open = matches!(member.state, State::Open);
            member.state = if open { State::Leaving } else { member.state };
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        let mut leaving = Box::pin(async move { node.shut_down(deadline).await });
        let begun = poll_fn(|cx| Poll::Ready(leaving.as_mut().poll(cx))).await;
        self.look();
        for user in [0, 1] {
            self.revoke_user(user);
        }
        self.read_all().await;
        if begun.is_pending() {
            leaving.await;
        }
    }

    fn revoke_user(&mut self, user: u8) {
        self.revoke(Who::User(user), None, u8::MAX, true);
        self.finish(self.kills.len() - 1, user == 0);
    }

    /// All clients read until nothing more comes.
    async fn read_all(&mut self) {
        // Farewells are paced.
        for _ in 0..5 {
            self.advance(1).await;
        }
        let mut quiet = 0;
        while quiet < 2 {
            self.settle().await;
            let mut any = false;
            for n in 0..self.clients.len() {
                while self.clients[n].read(1 << 16) {
                    any = true;
                }
            }
            quiet = if any { 0 } else { quiet + 1 };
        }
        // A parked poll is answered, so another one follows.
        self.poll_all().await;
        self.poll_all().await;
    }

    async fn poll_all(&mut self) {
        (0..self.clients.len()).for_each(|n| self.poll(n as Which));
        self.settle().await;
    }

    /// Checks that open clients have received everything, that all others have seen the end of
    /// their streams, and that no other connection is registered.
    fn compare(&mut self) {
        self.look();
        for (n, client) in self.clients.iter().enumerate() {
            let member = &self.model.members[n];
            let stream = !matches!(client.transport, Transport::LongPolling);
            match member.state {
                State::Open => assert_eq!(client.events(), member.events, "client {n}"),
                State::Over if stream => assert!(client.wire.is_none(), "client {n} sees no end"),
                _ => {}
            }
        }
        let counts = self.sessions.counts();
        let registered = (counts.sessions, counts.connections);
        let ended_mailboxes = self.clients.iter().enumerate().any(|(n, client)| {
            matches!(client.transport, Transport::LongPolling) && self.model.members[n].state == State::Over
        });
        let leaving = self.model.members.iter().any(|member| member.state == State::Leaving);
        // Mailboxes of terminated connections stay registered until the next sweep, once a second.
        if !ended_mailboxes && !leaving {
            assert_eq!(registered, self.model.counts(), "sessions and registrations");
        }
    }
}
