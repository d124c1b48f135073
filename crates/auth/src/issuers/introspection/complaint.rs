//! What is wrong with an issuer that is asked about tokens, and whether the log should say so.

use std::time::Duration;

use tokio::time::Instant;

/// How often the same reason is logged, however often questions fail and succeed in turn.
const PAUSE: Duration = Duration::from_secs(60);

/// How often any is.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why the last question had no answer. A stranger's token may be what the issuer fails on, so the
/// log is limited.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    current: Option<String>,
    is_logged: bool,
    logged: Option<(String, Instant)>,
}

impl Complaint {
    /// Returns why the last question had no answer; `None` if it had one.
    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Notes a question without an answer. Returns `true` if it is to be logged.
    pub(super) fn failed(&mut self, reason: &str, now: Instant) -> bool {
        if self.current.as_deref() == Some(reason) {
            return false;
        }
        self.current = Some(reason.to_owned());
        let pause = |logged: &str| if logged == reason { PAUSE } else { SHORTEST };
        let is_recent = |(logged, at): &(String, Instant)| now < *at + pause(logged);
        if self.logged.as_ref().is_some_and(is_recent) {
            return false;
        }
        self.logged = Some((reason.to_owned(), now));
        self.is_logged = true;
        true
    }

    /// Notes an answer. Returns `true` if it is to be logged that there are answers again.
    pub(super) fn answered(&mut self) -> bool {
        self.current.take().is_some() && std::mem::take(&mut self.is_logged)
    }
}
