//! What the clients have seen, and what of it must not be.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How long the way from the gateway's write to the client's read may take.
pub(super) const PIPE: Duration = Duration::from_millis(5);

/// How many violations are shown in full.
const SHOWN: usize = 40;

/// The verdict over a run.
#[derive(Debug)]
pub struct Verdict {
    start: Instant,
    /// Payloads that clients of sessions have received.
    pub payloads: u64,
    /// Payloads received within 5 ms after their session had to be silent: on their way already.
    pub in_the_pipe: u64,
    /// Payloads received later than that: violations.
    pub late: u64,
    /// Revocations that were asked for.
    pub revocations: u64,
    /// Answers to them, with the time each took.
    pub answers: BTreeMap<String, Vec<Duration>>,
    /// Nodes that had no lease when a revocation was confirmed.
    pub expired: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections of unrevoked sessions that were lost, in the faults and after them.
    pub lost: u64,
    /// Events that were published.
    pub published: u64,
    /// Events that a connection has missed, between two that it has received.
    pub missed: u64,
    /// Ids of revocations that were acknowledged, by 201 or 202.
    pub acknowledged: Vec<String>,
    violations: u64,
    shown: Vec<String>,
}

impl Verdict {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            payloads: 0,
            in_the_pipe: 0,
            late: 0,
            revocations: 0,
            answers: BTreeMap::new(),
            expired: 0,
            connections: 0,
            lost: 0,
            published: 0,
            missed: 0,
            acknowledged: Vec::new(),
            violations: 0,
            shown: Vec::new(),
        }
    }

    /// Notes what must not be.
    pub fn violation(&mut self, what: impl Into<String>) {
        self.violations += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(format!("at {:.3} s: {}", self.start.elapsed().as_secs_f64(), what.into()));
        }
    }

    /// Returns the number of violations.
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Notes an answer to a request to revoke.
    pub(super) fn answer(&mut self, answer: &str, took: Duration) {
        self.answers.entry(answer.to_owned()).or_default().push(took);
    }

    /// Returns the number of answers of this kind.
    pub fn answered(&self, answer: &str) -> usize {
        self.answers.get(answer).map_or(0, Vec::len)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} revocations, {} acknowledged, {} expired leases in receipts",
            self.revocations,
            self.acknowledged.len(),
            self.expired
        )?;
        for (answer, times) in &self.answers {
            let mut times = times.clone();
            times.sort_unstable();
            let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_millis();
            writeln!(
                f,
                "  {answer}: {} (p50 {} ms, p99 {} ms, max {} ms)",
                times.len(),
                at(50),
                at(99),
                at(100)
            )?;
        }
        writeln!(
            f,
            "{} payloads judged ({} in the pipe, {} too late), {} events published, {} missed by a connection",
            self.payloads, self.in_the_pipe, self.late, self.published, self.missed
        )?;
        writeln!(f, "{} connections, {} lost in faults", self.connections, self.lost)?;
        write!(f, "{} violations", self.violations)?;
        self.shown.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
