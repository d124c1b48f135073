//! Which server a connection goes to.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a server that has failed is tried last. A stopped one accepts connections and does not
/// answer, so each attempt costs the time limit of a connection.
const LATELY: Duration = Duration::from_secs(10);

/// A connection of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Control,
    Events,
}

impl Purpose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Events => "events",
        }
    }
}

/// What the connections of a node know of the servers, which are named by their place in the list.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The server that each connection uses or tries to reach.
    used: BTreeMap<Purpose, usize>,
    /// When a connection last left a server, or did not reach it.
    failed: BTreeMap<usize, Instant>,
}

impl Servers {
    /// Chooses the next of `count` servers for a connection, which begins with `first`. `None` if
    /// there is no server.
    pub(super) fn choose(&self, purpose: Purpose, first: usize, count: usize) -> Option<usize> {
        self.0.lock().choose(purpose, first, count, Instant::now())
    }

    /// Returns whether the connections use different servers.
    pub(super) fn are_apart(&self) -> bool {
        let state = self.0.lock();
        state.used.get(&Purpose::Control) != state.used.get(&Purpose::Events)
    }
}

impl State {
    /// The next one in turn, but one that has failed lately last, and before those the one that the
    /// other connection uses: a server that fails is to cut off only one of them.
    fn choose(&mut self, purpose: Purpose, first: usize, count: usize, now: Instant) -> Option<usize> {
        let before = self.used.get(&purpose).copied();
        if let Some(before) = before {
            self.failed.insert(before, now);
        }
        let from = before.map_or(first % count.max(1), |before| before + 1);
        let failed = |server| self.failed.get(&server).filter(|at| now < **at + LATELY);
        let is_taken = |server| self.used.iter().any(|(other, used)| *other != purpose && *used == server);
        let in_turn = (from..from + count).map(|server| server % count);
        let chosen = in_turn.min_by_key(|server| (failed(*server), is_taken(*server)))?;
        self.used.insert(purpose, chosen);
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::Purpose::{Control, Events};
    use super::*;

    /// Three servers, and the time.
    struct Three(State, Instant);

    impl Three {
        fn new() -> Self {
            Self(State::default(), Instant::now())
        }

        fn choose(&mut self, purpose: Purpose) -> Option<usize> {
            self.0.choose(purpose, usize::from(purpose == Events), 3, self.1)
        }
    }

    #[test]
    fn a_connection_goes_around_and_a_single_server_is_tried_again() {
        let mut three = Three::new();
        let around: Vec<_> = (0..7).filter_map(|_| three.choose(Control)).collect();
        assert_eq!(around, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!([7, 7].map(|first| State::default().choose(Control, first, 1, three.1)), [Some(0); 2]);
        assert_eq!(State::default().choose(Control, 7, 0, three.1), None);
    }

    #[test]
    fn connections_use_different_servers_while_two_work() {
        let mut three = Three::new();
        assert_eq!([Control, Events].map(|purpose| three.choose(purpose)), [Some(0), Some(1)]);
        assert_eq!(three.choose(Control), Some(2), "server 0 fails");
        three.1 += LATELY;
        assert_eq!(three.choose(Events), Some(0), "server 1 fails, 0 is back");
    }

    #[test]
    fn a_server_that_has_failed_lately_is_tried_last() {
        let mut three = Three::new();
        assert_eq!([Control, Events].map(|purpose| three.choose(purpose)), [Some(0), Some(1)]);
        assert_eq!(three.choose(Control), Some(2), "server 0 fails");
        assert_eq!(three.choose(Control), Some(1), "server 2 fails too, so only 1 is left for both");
        three.1 += LATELY;
        assert_eq!(three.choose(Control), Some(2), "the others may work again");
    }
}
