//! Why a service did not answer, in the words of the log, and how often that is logged.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// At most one line per target and kind of failure is logged in this time. The next line contains
/// the number of suppressed ones.
const EVERY: Duration = Duration::from_secs(10);

/// Limit of the detail, in bytes: the service controls some of it (the debug data of GOAWAY).
const DETAIL: usize = 200;

/// The kind of a failure. Lines of one kind share a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The name does not resolve.
    Name,
    /// Nothing listens on the port, or the network fails.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Connecting or the handshake took too long.
    ConnectTimeout,
    /// No file descriptor is left in this process, or in the clients' share.
    Exhausted,
    /// The limit of open HTTP/2 streams is reached.
    Busy,
    /// The copy of the request's body was evicted: too many bytes are queued in memory. Not the
    /// service's fault.
    NoRoom,
    /// The connection closed before an answer.
    Closed,
    /// The service reset the stream of the request before an answer. The connection stays open.
    Reset,
    /// The response is not HTTP.
    Protocol,
    /// The head of the answer exceeds the limit.
    Head,
    /// The target takes no such request.
    Refused,
    /// No answer began in time.
    Silent,
    /// The body of the answer broke off, or made no progress for too long.
    Body,
}

impl FailureKind {
    const ALL: usize = 14;

    const fn text(self) -> &'static str {
        match self {
            Self::Name => "name does not resolve",
            Self::Connect => "cannot connect",
            Self::Tls => "TLS handshake failed",
            Self::ConnectTimeout => "connecting timed out",
            Self::Exhausted => "no descriptor is left",
            Self::Busy => "too many streams",
            Self::NoRoom => "too many bytes wait in memory",
            Self::Closed => "connection closed before the answer",
            Self::Reset => "stream reset before the answer",
            Self::Protocol => "invalid answer",
            Self::Head => "answer head too large",
            Self::Refused => "the request was refused",
            Self::Silent => "no answer in time",
            Self::Body => "answer body broken off",
        }
    }
}

/// Why a service did not answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    detail: Arc<str>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl fmt::Display) -> Self {
        let mut detail = detail.to_string();
        detail.truncate(detail.floor_char_boundary(DETAIL));
        Self { kind, detail: detail.into() }
    }

    /// Creates a failure from an error and all its sources.
    pub(crate) fn of(kind: FailureKind, error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let error_text = error.to_string();
            // Many errors repeat the text of their source.
            if !text.ends_with(&error_text) {
                text = format!("{text}: {error_text}");
            }
            cause = error.source();
        }
        Self::new(kind, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.text())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Limits the rate of log lines about one target.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<[Complaint; FailureKind::ALL]>);

#[derive(Clone, Copy, Debug, Default)]
struct Complaint {
    last: Option<Instant>,
    suppressed: u64,
}

impl Complaints {
    /// Returns the number of failures of this kind since the last line; `None` if no line is due at
    /// `now`.
    pub(super) fn due(&self, kind: FailureKind, now: Instant) -> Option<u64> {
        let mut complaints = self.0.lock();
        let complaint = &mut complaints[kind as usize];
        if complaint.last.is_some_and(|last| now.duration_since(last) < EVERY) {
            complaint.suppressed += 1;
            return None;
        }
        complaint.last = Some(now);
        Some(std::mem::take(&mut complaint.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_lines_of_one_kind_are_bounded_and_the_next_says_how_many_were_suppressed() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due(FailureKind::Connect, now), Some(0));
        assert_eq!(complaints.due(FailureKind::Tls, now), Some(0), "another kind has its own rate");
        assert_eq!(complaints.due(FailureKind::Connect, now + EVERY / 2), None);
        assert_eq!(complaints.due(FailureKind::Connect, now + EVERY / 2), None);
        assert_eq!(complaints.due(FailureKind::Connect, now + EVERY), Some(2));
        assert_eq!(complaints.due(FailureKind::Body, now), Some(0), "the last kind has its place");
    }

    #[test]
    fn f17_a_detail_is_bounded() {
        let failure = Failure::new(FailureKind::Protocol, "ü".repeat(500));
        assert!(failure.to_string().len() < DETAIL + 50);
    }
}
