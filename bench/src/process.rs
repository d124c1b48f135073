//! What the kernel says of a process: its memory and its CPU time.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddrV4;
use std::ops::{Add, Sub};
use std::time::Duration;

use anyhow::Context;
use rustix::param::clock_ticks_per_second;
use serde::{Deserialize, Serialize};

/// Memory of one process, or of several together. KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResidentSet {
    /// Resident set: `VmRSS`.
    pub(crate) rss_kib: u64,
    /// Its anonymous part: `RssAnon`.
    pub(crate) anon_kib: u64,
    /// Its shared part: `RssShmem`.
    pub(crate) shared_kib: u64,
}

impl ResidentSet {
    /// Returns the memory of the process with this id.
    ///
    /// # Errors
    /// Fails if the process is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = read(pid, "status")?;
        let field = |name| field(&status, name).with_context(|| format!("no {name} for process {pid}"));
        Ok(Self { rss_kib: field("VmRSS:")?, anon_kib: field("RssAnon:")?, shared_kib: field("RssShmem:")? })
    }
}

impl Add for ResidentSet {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib + other.rss_kib,
            anon_kib: self.anon_kib + other.anon_kib,
            shared_kib: self.shared_kib + other.shared_kib,
        }
    }
}

/// Returns the largest resident set that the process with this id has had so far: `VmHWM`. KiB.
///
/// # Errors
/// Fails if the process is gone.
pub(crate) fn peak_kib(pid: u32) -> anyhow::Result<u64> {
    field(&read(pid, "status")?, "VmHWM:").with_context(|| format!("no VmHWM for process {pid}"))
}

/// CPU time of one process with all its threads, or of several processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    user: u64,
    system: u64,
}

impl Cpu {
    /// Returns what the process with this id has used so far: `utime` and `stime` of
    /// `/proc/PID/stat`.
    ///
    /// # Errors
    /// Fails if the process is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = read(pid, "stat")?;
        let field = |number| stat_field(&stat, number).with_context(|| format!("stat of process {pid}"));
        Ok(Self { user: field(14)?, system: field(15)? })
    }

    /// Returns what this process has used so far.
    pub(crate) fn of_this() -> anyhow::Result<Self> {
        Self::of(std::process::id())
    }

    /// Returns the microseconds for each of a number of operations.
    pub(crate) fn microseconds_each(self, operations: f64) -> f64 {
        self.ticks() as f64 * 1e6 / clock_ticks_per_second() as f64 / operations
    }

    /// Ticks of the kernel's clock; one tick is the error of this measurement.
    pub(crate) fn ticks(self) -> u64 {
        self.user + self.system
    }

    /// The part spent inside the kernel, 0 to 1.
    pub(crate) fn system_part(self) -> f64 {
        self.system as f64 / self.ticks().max(1) as f64
    }
}

impl Add for Cpu {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
    }
}

impl Sub for Cpu {
    type Output = Self;

    /// What came since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Returns what the threads of the process with this id have run so far, to the nanosecond: the
/// first field of `/proc/PID/task/TID/schedstat`. Threads that have exited are not in it.
///
/// # Errors
/// Fails if the process is gone, or if the kernel does not count it.
pub(crate) fn run_time(pid: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))? {
        // A thread may exit while the list is read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
        total += Duration::from_nanos(nanoseconds.context("schedstat")?);
    }
    anyhow::ensure!(!total.is_zero(), "the kernel does not count what process {pid} runs");
    Ok(total)
}

/// This process and those that it and its own have started.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn descendants(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while the list is read.
        let Ok(stat) = read(pid, "stat") else { continue };
        parents.push((pid, stat_field(&stat, 4)));
    }
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == Some(u64::from(parent)));
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(found)
}

/// The connections that are established on this port of this machine.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn established(address: SocketAddrV4) -> anyhow::Result<u64> {
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    // proc_net_tcp(5): number, local and remote address, state, of which 01 is "established".
    let remote = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().skip(1).take(3).collect();
        matches!(fields[..], [at, _, "01"] if at == local).then(|| fields[1].to_owned())
    };
    // The kernel may list a connection twice while others come and go.
    Ok(sockets.lines().filter_map(remote).collect::<HashSet<_>>().len() as u64)
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("process {pid}"))
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Field of that number as proc_pid_stat(5) counts them, from the fourth on. The second is a name
/// in parentheses that may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_do_not_shift_the_fields() {
        let stat = "42 (a b) c) S 7 42 42 0 -1 4194560 100 0 0 0 31 12 0 0 20 0 4 0";
        assert_eq!([4, 14, 15].map(|number| stat_field(stat, number)), [Some(7), Some(31), Some(12)]);
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let memory = ResidentSet::of(std::process::id()).unwrap();
        assert!(memory.rss_kib > memory.anon_kib && memory.anon_kib > 0);
        drop(vec![1_u8; 64 << 20]);
        // The kernel's counters may be some pages behind.
        assert!(peak_kib(std::process::id()).unwrap() > 63 << 10);
        let parent = std::os::unix::process::parent_id();
        assert!(descendants(parent).unwrap().contains(&std::process::id()));
    }

    #[test]
    fn time_is_counted_finer_than_in_ticks() {
        let this = std::process::id();
        let before = run_time(this).unwrap();
        let (start, mut turns) = (std::time::Instant::now(), 0_u64);
        while start.elapsed() < Duration::from_millis(20) {
            turns = std::hint::black_box(turns + 1);
        }
        // The kernel counts a thread that runs at its ticks, and when it stops to run.
        std::thread::sleep(Duration::from_millis(1));
        let spent = run_time(this).unwrap().checked_sub(before).unwrap_or_default();
        let plausible = Duration::from_micros(100)..Duration::from_secs(1);
        assert!(plausible.contains(&spent) && !spent.subsec_nanos().is_multiple_of(10_000_000), "{spent:?}");
    }

    #[test]
    fn connections_are_counted_at_the_end_that_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("IPv4") };
        assert_eq!(established(address).unwrap(), 0);
        let _clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        assert_eq!(established(address).unwrap(), 2);
    }
}
