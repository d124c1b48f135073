//! The blacklist in this process, without a gateway around it: its memory, and what looking at it
//! costs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use session::{
    Appended, Config, Entry, Expiry, Log, LogError, NodeName, Operation, Place, Position, Receipt, Record,
    Revocation, RevocationId, Seq, SessionName, Sessions, StateCursor, StatePage,
};

use super::random::Random;
use crate::process::ResidentSet;
use crate::stats::{millis, quantile};

/// Names that are looked up, for each kind of answer.
const LOOKED_UP: u64 = 1_000_000;

/// Sweeps: each part of the blacklist is swept once.
const SWEEPS: usize = 256;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InMemory {
    pub(crate) revocations: u64,
    /// Growth of the resident set by all revocations, divided by their number.
    pub(crate) bytes_per_revocation: f64,
    /// From a log that costs nothing to read.
    pub(crate) load_seconds: f64,
    /// Names in random order, of sessions that are revoked.
    pub(crate) hit: Lookup,
    /// Names in random order, of sessions that are not.
    pub(crate) miss: Lookup,
    /// A call of `sweep`, which looks at one part after the other for what has expired.
    pub(crate) sweep_p50_milliseconds: f64,
    pub(crate) sweep_longest_milliseconds: f64,
}

/// What `is_blacklisted` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lookup {
    /// All together, by their number.
    pub(crate) mean_nanoseconds: f64,
    /// Each by itself, the reading of the clock included.
    pub(crate) p50_nanoseconds: u64,
    pub(crate) p99_nanoseconds: u64,
}

/// A log that loads this number of revocations and stores none.
struct Many(u64);

impl Log for Many {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        for seq in 0..self.0 {
            let revocation = Revocation::blacklist(&revoked(seq), DAY);
            each(Entry::Revoked { seq, revocation, replaces: None });
        }
        Ok(Position::default())
    }

    fn append(&self, _: &Revocation) -> Result<Appended, LogError> {
        Err(LogError("only what is loaded is measured".into()))
    }

    fn unshare(&self, _: &RevocationId) -> Result<(), LogError> {
        Ok(())
    }

    fn lift(&self, _: &RevocationId, _: Option<&str>) -> Result<Option<Record>, LogError> {
        Ok(None)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        Ok(vec![None; operations.len()])
    }

    fn advance(&self, _: Position) {}

    fn unshared(&self, _: Seq, _: usize) -> Result<Vec<Record>, LogError> {
        Ok(Vec::new())
    }

    fn unshared_count(&self) -> u64 {
        0
    }

    fn states(&self, _: Option<&StateCursor>, _: usize) -> Result<StatePage, LogError> {
        Ok(StatePage::default())
    }

    fn lifted(&self, _: &RevocationId) -> Result<Option<u32>, LogError> {
        Ok(None)
    }

    fn receipt(&self, _: Seq, _: &NodeName, _: Receipt) {}

    fn find(&self, _: &RevocationId) -> Result<Option<Record>, LogError> {
        Ok(None)
    }

    fn page(&self, _: Option<Seq>, _: usize) -> Result<Vec<Record>, LogError> {
        Ok(Vec::new())
    }
}

/// Measures.
///
/// # Errors
/// The blacklist says something wrong.
pub(crate) fn run(revocations: u64) -> anyhow::Result<InMemory> {
    let this = std::process::id();
    let before = ResidentSet::of(this)?;
    let start = Instant::now();
    let sessions = Sessions::new(config()?, Many(revocations))?;
    let load_seconds = start.elapsed().as_secs_f64();
    let bytes = (ResidentSet::of(this)?.rss_kib - before.rss_kib) * 1024;

    // As a gateway does about ten times a second; here without a pause.
    let mut sweeps: Vec<_> = (0..SWEEPS).map(|_| timed(|| sessions.sweep())).collect();
    sweeps.sort_unstable();
    let counts = sessions.counts();
    anyhow::ensure!(counts.blacklisted as u64 == revocations, "{counts:?}");
    let mut random = Random::new(revocations);
    let hits: Vec<_> = (0..LOOKED_UP).map(|_| revoked(random.below(revocations))).collect();
    let hit = look_up(&sessions, &hits, true)?;
    drop(hits);
    let misses: Vec<_> = (0..LOOKED_UP).map(|_| revoked(revocations + random.below(revocations))).collect();
    let miss = look_up(&sessions, &misses, false)?;
    Ok(InMemory {
        revocations,
        bytes_per_revocation: bytes as f64 / revocations as f64,
        load_seconds,
        hit,
        miss,
        sweep_p50_milliseconds: millis(quantile(&sweeps, 0.5)),
        sweep_longest_milliseconds: millis(quantile(&sweeps, 1.0)),
    })
}

fn look_up(sessions: &Sessions, names: &[SessionName], expected: bool) -> anyhow::Result<Lookup> {
    let start = Instant::now();
    let found = names.iter().filter(|name| sessions.is_blacklisted(name)).count();
    let mean = start.elapsed().as_secs_f64() * 1e9 / names.len() as f64;
    anyhow::ensure!(found == if expected { names.len() } else { 0 }, "{found} of {}", names.len());
    let look = |name| timed(|| black_box(sessions.is_blacklisted(name)));
    let mut times: Vec<_> = names.iter().map(look).collect();
    times.sort_unstable();
    let nanoseconds = |part| quantile(&times, part).as_nanos() as u64;
    Ok(Lookup {
        mean_nanoseconds: mean,
        p50_nanoseconds: nanoseconds(0.5),
        p99_nanoseconds: nanoseconds(0.99),
    })
}

fn timed<T>(act: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// As the gateway has it by default.
pub(super) fn config() -> anyhow::Result<Config> {
    let expiry = Expiry::Ends { warning: Duration::from_secs(30), leeway: Duration::ZERO };
    Ok(Config::default().with_revocation_claims(["/sub", "/sid"])?.with_expiry(expiry))
}

/// A name of the length of a UUID, as `jti` often is one.
pub(super) fn revoked(number: u64) -> SessionName {
    format!("5e551043-0000-4000-8000-{number:012x}").parse().expect("it is a name")
}
