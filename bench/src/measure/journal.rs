//! The durable log in this process: revocations accepted in a second, and the time to load them at
//! the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use journal::Journal;
use serde::{Deserialize, Serialize};
use session::{Revocation, Sessions};

use super::sessions::{config, revoked};
use crate::server::TempFolder;
use crate::stats::{millis, quantile};

/// How long revocations are accepted for each rate.
const RATE: Duration = Duration::from_secs(3);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Revocations on disk, and who stores them.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct StoredRevocations {
    /// Revocations in the log that is loaded.
    #[arg(default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=50_000_000))]
    pub(crate) revocations: u64,
    /// Callers that wait for an answer each, at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) callers: u32,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OnDisk {
    pub(crate) callers: u32,
    /// Revocations that wait at the same time share a commit.
    pub(crate) together: Rate,
    /// Each revocation has a commit of its own.
    pub(crate) one_by_one: Rate,
    pub(crate) revocations: u64,
    pub(crate) file_bytes_per_revocation: f64,
    /// From opening the folder until connections could be let in.
    pub(crate) load_seconds: f64,
}

/// Revocations that were on disk when the call returned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p50_milliseconds: f64,
    pub(crate) p99_milliseconds: f64,
}

fn in_folder(folder: &TempFolder) -> journal::Config {
    let (folder, node) = (folder.to_path_buf(), session::NodeName::default());
    journal::Config { folder, audit_key: None, node, clustered: false, outlets: Vec::new() }
}

/// Measures.
///
/// # Errors
/// The log fails, or has lost something.
pub(crate) fn run(plan: StoredRevocations) -> anyhow::Result<OnDisk> {
    let StoredRevocations { revocations, callers } = plan;
    let one_by_one = {
        let folder = TempFolder::absent("journal")?;
        let sessions = Sessions::new(config()?, Journal::with_commits_of(&in_folder(&folder), 1)?)?;
        accept(&sessions, callers, u64::MAX, RATE)?.1
    };
    let folder = TempFolder::absent("journal")?;
    let sessions = Sessions::new(config()?, Journal::open(&in_folder(&folder))?)?;
    let (known, together) = accept(&sessions, callers, revocations, RATE)?;
    drop(sessions);
    fill(&folder, known, revocations)?;
    let bytes = std::fs::metadata(folder.join("revocations.redb"))?.len();
    let start = Instant::now();
    let sessions = Sessions::new(config()?, Journal::open(&in_folder(&folder))?)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let loaded = sessions.counts().blacklisted as u64;
    anyhow::ensure!(loaded == revocations, "{loaded} of {revocations} were loaded");
    Ok(OnDisk {
        callers,
        together,
        one_by_one,
        revocations,
        file_bytes_per_revocation: bytes as f64 / revocations as f64,
        load_seconds,
    })
}

/// Threads that fill the log. Many, for large commits: only loading is measured afterwards.
const FILLING: u32 = 1024;

fn fill(folder: &TempFolder, from: u64, to: u64) -> anyhow::Result<()> {
    let log: Arc<dyn session::Log> = Arc::new(Journal::open(&in_folder(folder))?);
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        let fill = || -> anyhow::Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return Ok(());
                }
                log.append(&Revocation::blacklist(&revoked(number), DAY))?;
            }
        };
        let threads: Vec<_> = (0..FILLING).map(|_| scope.spawn(fill)).collect();
        threads.into_iter().try_for_each(|thread| joined(thread.join())?)
    })
}

/// Accepts revocations for a time, or up to a number of them; returns how many, and how fast.
fn accept(sessions: &Sessions, callers: u32, most: u64, time: Duration) -> anyhow::Result<(u64, Rate)> {
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let times = std::thread::scope(|scope| {
        let accept = || -> anyhow::Result<Vec<Duration>> {
            let mut times = Vec::new();
            while start.elapsed() < time {
                let taken =
                    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
                let Ok(number) = taken else { break };
                let asked = Instant::now();
                sessions.blacklist(&revoked(number), DAY)?;
                times.push(asked.elapsed());
            }
            Ok(times)
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(accept)).collect();
        let times = threads.into_iter().map(|thread| joined(thread.join())?);
        times.collect::<anyhow::Result<Vec<_>>>().map(|times| times.concat())
    });
    let (mut times, seconds) = (times?, start.elapsed().as_secs_f64());
    times.sort_unstable();
    let rate = Rate {
        per_second: times.len() as f64 / seconds,
        p50_milliseconds: millis(quantile(&times, 0.5)),
        p99_milliseconds: millis(quantile(&times, 0.99)),
    };
    Ok((times.len() as u64, rate))
}

fn joined<T>(joined: std::thread::Result<T>) -> anyhow::Result<T> {
    joined.map_err(|_| anyhow::anyhow!("a caller has panicked"))
}
