//! Where it was measured, and with what.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::server::{Launch, Product};

/// The machine, its system and the programs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Testbed {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    /// Processes that were ready to run in the minute before the first measurement, on average.
    pub(crate) load: String,
    pub(crate) kernel: String,
    pub(crate) system: String,
    pub(crate) rig: String,
    /// Versions of the other systems.
    pub(crate) peers: Vec<String>,
    /// The commit of the working copy, with `-dirty` if files differ from it.
    pub(crate) commit: String,
    pub(crate) compiler: String,
    /// In UTC.
    pub(crate) time: String,
}

impl Testbed {
    /// What can be found out; what cannot is `unknown`.
    ///
    /// # Errors
    /// One of the servers cannot be run.
    pub(crate) fn look(launch: &Launch, products: &[Product]) -> anyhow::Result<Self> {
        let peers = products.iter().filter(|product| **product != Product::Rig);
        let memory = line("/proc/meminfo", "MemTotal:", ':');
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Ok(Self {
            processor: line("/proc/cpuinfo", "model name", ':'),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            load: load(),
            kernel: output("uname", &["-sr"]),
            system: line("/etc/os-release", "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            rig: launch.version(Product::Rig)?,
            peers: peers.map(|product| launch.version(*product)).collect::<anyhow::Result<_>>()?,
            commit: output("git", &["describe", "--always", "--dirty", "--exclude", "*"]),
            compiler: output("rustc", &["--version"]),
            time: output("date", &["-u", "+%Y-%m-%d %H:%M"]),
        })
    }
}

#[cfg(test)]
impl Testbed {
    /// One of which nothing is known.
    pub(crate) fn unknown() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            processor: unknown(),
            cores: 0,
            memory_gib: 0,
            load: unknown(),
            kernel: unknown(),
            system: unknown(),
            rig: unknown(),
            peers: Vec::new(),
            commit: unknown(),
            compiler: unknown(),
            time: unknown(),
        }
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// What follows `name` and the separator on the first line of the file that begins with it.
fn line(file: &str, name: &str, separator: char) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(separator));
    found.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
