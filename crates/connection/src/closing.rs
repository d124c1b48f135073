//! The pace at which terminated connections are closed.
//!
//! Terminating a connection costs next to nothing. Sending its farewell and shutting its socket
//! down take a dozen system calls on two machines: doing that for thousands at once would delay all
//! other clients. So a few are closed at once, and the rest in small groups, one after the other.

use std::collections::VecDeque;
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::id::ConnectionId;

/// The time between two groups.
const PAUSE: Duration = Duration::from_millis(1);

/// Connections in a group, for each processor. Measured with `rig-bench revoke`: twice as many
/// slow other clients down.
const AT_ONCE: usize = 16;

/// Connections that are queued to be closed: their ids, as only their owner keeps them alive.
pub(crate) struct Closing {
    state: Mutex<Turn>,
    busy: Notify,
    at_once: usize,
}

struct Turn {
    waiting: VecDeque<ConnectionId>,
    /// How many more connections can be closed before the next pause.
    left: usize,
}

impl Closing {
    pub(crate) fn new() -> Self {
        let at_once = AT_ONCE * available_parallelism().map_or(1, NonZero::get);
        let state = Turn { waiting: VecDeque::new(), left: at_once };
        Self { state: Mutex::new(state), busy: Notify::new(), at_once }
    }

    /// Returns `true` if the connection can be closed now; otherwise it is queued.
    pub(crate) fn now_or_later(&self, id: ConnectionId) -> bool {
        let mut state = self.state.lock();
        let now = state.left > 0;
        if now {
            state.left -= 1;
        } else {
            state.waiting.push_back(id);
        }
        self.busy.notify_one();
        now
    }

    /// Closes queued connections. Never returns.
    pub(crate) async fn run(&self, close: impl Fn(ConnectionId)) {
        loop {
            self.busy.notified().await;
            loop {
                sleep(PAUSE).await;
                let group = self.next_group();
                if group.is_empty() {
                    break;
                }
                group.into_iter().for_each(&close);
            }
        }
    }

    fn next_group(&self) -> Vec<ConnectionId> {
        let mut state = self.state.lock();
        let n = state.waiting.len().min(self.at_once);
        let group = state.waiting.drain(..n).collect();
        state.left = self.at_once - n;
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new();
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_few_are_closed_at_once_and_the_rest_in_groups_in_their_order() {
        let closing = Closing::new();
        let n = closing.at_once as u64;
        let later: Vec<_> =
            (0..3 * n + 1).filter(|id| !closing.now_or_later(ConnectionId::new(*id))).collect();
        assert_eq!(later, (n..3 * n + 1).collect::<Vec<_>>());
        let began = Instant::now();
        let closed = RefCell::new(Vec::new());
        let close = |id: ConnectionId| {
            closed.borrow_mut().push((id.number(), began.elapsed() / PAUSE.as_millis() as u32))
        };
        let _ = tokio::time::timeout(PAUSE * 10, closing.run(close)).await;
        let groups = closed.take();
        assert_eq!(groups.iter().map(|(id, _)| *id).collect::<Vec<_>>(), later);
        let of_group =
            |k: u32| groups.iter().filter(|(_, at)| *at == Duration::from_millis(k.into())).count() as u64;
        assert_eq!((of_group(1), of_group(2), of_group(3)), (n, n, 1));
        assert!(
            closing.now_or_later(ConnectionId::new(0)),
            "after a while, a few can be closed at once again"
        );
    }
}
