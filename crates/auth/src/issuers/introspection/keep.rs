//! The task that asks an issuer again about tokens that are in use.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::super::{EndedMark, Issuer, Mark, OpenConnections};
use super::Introspection;
use super::store::{DueState, TokenId};

/// How many questions about tokens in use an issuer is asked at once.
const MOST_ASKED: usize = 16;

/// How late a question may be before the log says so.
const LATE: Duration = Duration::from_secs(5);

/// How often the log says so.
const LATE_PAUSE: Duration = Duration::from_secs(60);

/// How often the file of the secret is looked at.
const REFRESH: Duration = Duration::from_secs(5);

/// How often all tokens are searched for those without connections, if there are too many.
const CLEAR: Duration = Duration::from_secs(5);

/// How many tokens are looked at before the task yields.
const BATCH: usize = 256;

/// Asks an issuer again about its opaque tokens, until `leaving` resolves. There must be one such
/// task for each issuer that is asked.
///
/// A token is asked about as long as it has connections on this node, and a minute after its last
/// use. If it is not active any more, its connections are terminated; also those that are
/// registered a moment later.
pub async fn keep_tokens(
    issuer: Arc<Issuer>,
    connections: Arc<dyn OpenConnections>,
    leaving: impl Future<Output = ()>,
) {
    let Some(introspection) = &issuer.introspection else { return leaving.await };
    let mut leaving = pin!(leaving);
    let mut task = Task::new(&issuer, introspection, &*connections);
    let mut refresh_at = Instant::now();
    loop {
        select! {
            biased;
            () = &mut leaving => return,
            () = sleep_until(refresh_at) => {
                introspection.endpoint.refresh().await;
                refresh_at = Instant::now() + REFRESH;
            }
            () = task.work() => {}
        }
    }
}

struct Task<'t> {
    issuer: &'t Arc<Issuer>,
    introspection: &'t Introspection,
    connections: &'t dyn OpenConnections,
    /// Tokens that are to be asked about.
    queue: VecDeque<TokenId>,
    asking: FuturesUnordered<BoxFuture<'static, ()>>,
    cleared: Option<Instant>,
    complained: Option<Instant>,
}

impl<'t> Task<'t> {
    fn new(
        issuer: &'t Arc<Issuer>,
        introspection: &'t Introspection,
        connections: &'t dyn OpenConnections,
    ) -> Self {
        let (queue, asking) = (VecDeque::new(), FuturesUnordered::new());
        Self { issuer, introspection, connections, queue, asking, cleared: None, complained: None }
    }

    /// Does what is due, then waits until something may be. Can be dropped at any point.
    async fn work(&mut self) {
        self.clear().await;
        self.look().await;
        self.ask();
        let next = self.introspection.store.lock().next_look();
        let next = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => pending().await,
            }
        };
        select! {
            Some(()) = self.asking.next() => {}
            () = self.introspection.wake.notified() => {}
            () = next => {}
        }
    }

    /// Looks at the tokens that are due.
    async fn look(&mut self) {
        let mut looked = 0;
        loop {
            let now = Instant::now();
            let due = self.introspection.store.lock().due(now);
            let Some(due) = due else { return };
            let mark = self.mark(&due.id);
            let is_connected = self.connections.have(&mark);
            match due.state {
                _ if !is_connected && !due.is_used => self.introspection.store.lock().forget(&due.id, now),
                DueState::Ended(reason) if is_connected => {
                    self.connections.end(EndedMark { mark, reason: reason.to_string() });
                }
                DueState::Unasked => {
                    self.introspection.store.lock().queue(&due.id);
                    self.queue.push_back(due.id);
                }
                DueState::Ended(_) | DueState::Fine => {}
            }
            looked += 1;
            if looked % BATCH == 0 {
                yield_now().await;
            }
        }
    }

    /// Asks about as many tokens as may be.
    fn ask(&mut self) {
        while self.asking.len() < MOST_ASKED {
            let Some(id) = self.queue.pop_front() else { return };
            let token = self.introspection.store.lock().unqueue(&id, Instant::now());
            let Some((token, late)) = token else { continue };
            if late > LATE {
                self.complain(late);
            }
            if let Some(mut answered) = self.introspection.begin(self.issuer, id, token, None) {
                self.asking.push(Box::pin(async move { drop(answered.wait_for(Option::is_some).await) }));
            }
        }
    }

    /// Forgets the tokens without connections, if there are too many.
    async fn clear(&mut self) {
        let now = Instant::now();
        if self.cleared.is_some_and(|at| now < at + CLEAR) || !self.introspection.store.lock().is_crowded() {
            return;
        }
        self.cleared = Some(now);
        let settled = self.introspection.store.lock().settled(now);
        for ids in settled.chunks(BATCH) {
            for id in ids.iter().filter(|id| !self.connections.have(&self.mark(id))) {
                self.introspection.store.lock().displace(id, now);
            }
            yield_now().await;
        }
    }

    fn mark(&self, id: &TokenId) -> Mark {
        Mark { issuer: self.issuer.config.issuer.clone(), kind: "token", value: id.mark().into() }
    }

    fn complain(&mut self, late: Duration) {
        let now = Instant::now();
        if self.complained.is_none_or(|at| now >= at + LATE_PAUSE) {
            self.complained = Some(now);
            let (issuer, late) = (&self.issuer.config.id, late.as_secs());
            tracing::warn!(
                %issuer,
                late,
                "an issuer answers too slowly to be asked about each token in use every minute"
            );
        }
    }
}
