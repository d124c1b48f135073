//! Metrics of the process as the system reports them, with the names of Prometheus' client
//! libraries. Read at each scrape.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Bytes that hold the line of `/proc/self/stat`.
const LONGEST: usize = 1024;

/// Metrics of this process. Those that the system does not report are left out.
#[derive(Debug)]
pub(crate) struct Process {
    /// `/proc/self/stat`, kept open so that a scrape succeeds when no descriptor is left.
    stat: Option<File>,
    /// Start of the machine, in seconds since 1970.
    booted: Option<u64>,
}

/// Fields of `/proc/self/stat` (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    /// Processor time, in ticks.
    cpu: u64,
    threads: i64,
    /// Start of the process, in ticks since the start of the machine.
    started: u64,
    /// In bytes.
    virtual_memory: i64,
    /// In pages.
    resident: i64,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self { stat: File::open("/proc/self/stat").ok(), booted: booted() }
    }

    fn stat(&self) -> Option<Stat> {
        let mut line = [0; LONGEST];
        let length = self.stat.as_ref()?.read_at(&mut line, 0).ok()?;
        Stat::parse(std::str::from_utf8(&line[..length]).ok()?)
    }
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The second field is the name of the program in parentheses, and may contain anything.
        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        Some(Self {
            cpu: (number(14)? + number(15)?).try_into().ok()?,
            threads: number(20)?,
            started: number(22)?.try_into().ok()?,
            virtual_memory: number(23)?,
            resident: number(24)?,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ticks = clock_ticks_per_second() as f64;
        if let Some(stat) = self.stat() {
            let cpu = ConstCounter::new(stat.cpu as f64 / ticks);
            let help = "User and system processor time, in seconds.";
            let kind = cpu.metric_type();
            cpu.encode(encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), kind)?)?;
            let resident = stat.resident * page_size() as i64;
            gauge(&mut encoder, "process_resident_memory", "Resident memory.", Some(&Unit::Bytes), resident)?;
            let size = stat.virtual_memory;
            gauge(&mut encoder, "process_virtual_memory", "Virtual memory.", Some(&Unit::Bytes), size)?;
            gauge(&mut encoder, "process_threads", "Threads of the operating system.", None, stat.threads)?;
            if let Some(booted) = self.booted {
                let started = booted as f64 + stat.started as f64 / ticks;
                let help = "When the process was started, in seconds since 1970.";
                gauge(&mut encoder, "process_start_time", help, Some(&Unit::Seconds), started)?;
            }
        }
        if let Some(open) = open_descriptors() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors.", None, open)?;
        }
        let most = getrlimit(Resource::Nofile).current;
        let most = most.and_then(|most| i64::try_from(most).ok()).unwrap_or(i64::MAX);
        gauge(&mut encoder, "process_max_fds", "File descriptors that the process may open.", None, most)
    }
}

fn gauge<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: V,
) -> fmt::Result
where
    ConstGauge<V>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    let kind = gauge.metric_type();
    gauge.encode(encoder.encode_descriptor(name, help, unit, kind)?)
}

/// Returns the number of open descriptors. Linux reports it since 6.2 as the size of the folder;
/// before that, reading the folder needs a descriptor, which is not counted.
fn open_descriptors() -> Option<i64> {
    let folder = "/proc/self/fd";
    match std::fs::metadata(folder).ok()?.len() {
        0 => Some(std::fs::read_dir(folder).ok()?.count() as i64 - 1),
        open => i64::try_from(open).ok(),
    }
}

/// Returns `btime` of `/proc/stat`: the start of the machine, in seconds since 1970.
fn booted() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f79_the_name_of_the_program_may_hold_anything() {
        let line = "7 (a) R (b 1) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 5 0 1234 4096000 250 18446744073709551615 1 1\n";
        let expected = Stat { cpu: 200, threads: 5, started: 1234, virtual_memory: 4_096_000, resident: 250 };
        assert_eq!(Stat::parse(line), Some(expected));
        for broken in ["", "7 (rig) S 1", "7 rig S"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }
}
