//! The clock of NATS, as far as this node knows it.
//!
//! It orders an own operation and one that another node has stored. No promise depends on it: it
//! only decides between two operations on one id of which neither author has seen the other's.

use super::{Input, Now};

/// How late a message may come, in milliseconds. One that was stored less than this after a moment
/// may have been stored before it.
const LATE: i64 = 1_000;

/// How far a message may be ahead of the time that NATS has told, in milliseconds. The headers of
/// the live path are not authenticated.
const AHEAD: i64 = 60_000;

/// The time by the clock of NATS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamClock {
    /// How far it was ahead of the clock of the node when the stream was last inspected.
    told: Option<i64>,
    /// How far it is ahead of the clock of the node, in milliseconds, at least.
    ahead: Option<i64>,
}

/// A moment, by the clock of NATS in milliseconds; `None` if the clock was not known then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StreamTime(Option<i64>);

impl StreamClock {
    /// Learns from what has come just now.
    pub(super) fn learn(&mut self, input: &Input, now: Now) {
        let time = match input {
            Input::Live(message) => message.stored_at,
            Input::Inspected(stream) => stream.now,
            _ => return,
        };
        let ahead = milliseconds(time).saturating_sub(since_boot(now));
        if matches!(input, Input::Inspected(_)) {
            self.told = Some(ahead);
        }
        self.ahead = Some(self.ahead.map_or(ahead, |known| known.max(ahead)));
    }

    /// Returns when a message of the live path was stored, unless that would be in the future.
    pub(super) fn plausible(self, stored_at: u64, now: Now) -> u64 {
        let latest = self.told.map(|told| since_boot(now).saturating_add(told).saturating_add(AHEAD));
        latest.map_or(stored_at, |latest| stored_at.min(latest.max(0).cast_unsigned()))
    }

    pub(super) fn at(self, now: Now) -> StreamTime {
        StreamTime(self.ahead.map(|ahead| since_boot(now).saturating_add(ahead)))
    }
}

impl StreamTime {
    /// Returns whether a message was stored after this moment, for sure.
    pub(super) fn is_before(self, stored_at: u64) -> bool {
        self.0.is_some_and(|time| milliseconds(stored_at) > time.saturating_add(LATE))
    }
}

fn milliseconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn since_boot(now: Now) -> i64 {
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::StreamState;
    use super::*;

    #[test]
    fn no_message_is_from_the_future() {
        let seconds = std::time::Duration::from_secs;
        let mut clock = StreamClock::default();
        assert_eq!(clock.plausible(u64::MAX, seconds(10)), u64::MAX, "nothing is known yet");
        let stream = StreamState {
            epoch: session::Epoch(1),
            last: 0,
            adopted: true,
            beats: Vec::new(),
            now: 1_000_000,
        };
        clock.learn(&Input::Inspected(stream), seconds(10));
        assert_eq!(clock.plausible(1_000_001, seconds(10)), 1_000_001);
        assert_eq!(clock.plausible(4_000_000_000_000, seconds(10)), 1_060_000);
        assert_eq!(clock.plausible(4_000_000_000_000, seconds(20)), 1_070_000, "time passes");
    }
}
