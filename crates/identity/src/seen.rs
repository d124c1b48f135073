//! Whether the tokens of an issuer name the session that its logouts select by.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Notes whether tokens of an issuer had a `sid`. Shared by what lets tokens in and by the logout
/// feed.
#[derive(Debug, Default)]
pub struct SeenSessions {
    with: AtomicBool,
    without: AtomicBool,
    is_reported: AtomicBool,
}

impl SeenSessions {
    /// Notes that a token was let in, with or without a `sid`.
    pub fn note(&self, has_session: bool) {
        let seen = if has_session { &self.with } else { &self.without };
        // Read first, so that the cache line stays shared.
        if !seen.load(Relaxed) {
            seen.store(true, Relaxed);
        }
    }

    /// Returns `true` once if tokens were let in and none of them had a `sid`: a logout by `sid`
    /// selects nothing then.
    pub fn reports_missing(&self) -> bool {
        self.without.load(Relaxed) && !self.with.load(Relaxed) && !self.is_reported.swap(true, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i29_missing_sessions_are_reported_once() {
        let seen = SeenSessions::default();
        assert!(!seen.reports_missing(), "no token was seen");
        seen.note(false);
        assert_eq!([(); 3].map(|()| seen.reports_missing()), [true, false, false]);
        let seen = SeenSessions::default();
        seen.note(false);
        seen.note(true);
        assert!(!seen.reports_missing());
    }
}
