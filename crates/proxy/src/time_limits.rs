//! How long an exchange may stand still, and which side of it is to blame.

use std::time::{Duration, Instant};

/// How long an exchange may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// For the answer to begin, once the service has the request.
    pub answer: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
}

/// Which side of an exchange is waited for, since when.
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
    /// Returns until when this side may keep silent.
    pub(crate) fn until(&self, awaited: Awaited) -> Instant {
        match awaited {
            Awaited::Client(since) | Awaited::Service(since) => since + self.idle,
            Awaited::Answer(since) => since + self.answer,
        }
    }

    /// Returns how often to look who is waited for: that changes while a body is sent.
    pub(crate) fn step(&self, has_body: bool) -> Duration {
        if has_body { self.answer.min(self.idle) } else { self.answer }
    }
}
