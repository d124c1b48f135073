//! How long an exchange may make no progress, and which side is responsible.

use std::time::{Duration, Instant};

/// How long an exchange may make no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// Until the answer begins, once the service has the whole request.
    pub answer: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
}

/// The side that the exchange waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The client, to send more of its body.
    Client(Instant),
    /// The service, to take the body.
    Service(Instant),
    /// The service, to answer: it has the whole request.
    Answer(Instant),
}

impl TimeLimits {
    /// Returns the deadline of this side.
    pub(crate) fn until(&self, awaited: Awaited) -> Instant {
        match awaited {
            Awaited::Client(since) | Awaited::Service(since) => since + self.idle,
            Awaited::Answer(since) => since + self.answer,
        }
    }

    /// Returns how often to check which side is waited for: that changes while a body is sent.
    pub(crate) fn step(&self, has_body: bool) -> Duration {
        if has_body { self.answer.min(self.idle) } else { self.answer }
    }
}
