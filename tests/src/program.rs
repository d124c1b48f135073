//! A foreign program, as a child process that listens on the loopback address.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{DEADLINE, eventually};

/// A running program; stopped when it is dropped.
pub(crate) struct Program(Child);

impl Program {
    /// Starts it and waits until it listens on `address`. Returns `None` if it exits before, for
    /// instance because another program has taken the port.
    ///
    /// # Panics
    /// Panics if it is not installed. `/usr/sbin` is searched too, since Debian has servers there.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Option<Self> {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = command.env("PATH", path).stdin(Stdio::null()).spawn();
        let mut program = Self(child.expect("scripts/need installs it"));
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && program.0.try_wait().expect("the child is ours").is_none() {
            // A socket that happens to have this very port connects to itself.
            if TcpStream::connect(address).is_ok_and(|socket| socket.local_addr().ok() != Some(address)) {
                return Some(program);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Limits the size that its files can reach, as a full disk does; `None` for no limit.
    ///
    /// # Panics
    /// Panics if there is no `prlimit`.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        limit_files(self.0.id(), bytes);
    }

    /// Asks it to exit, and waits until it has.
    ///
    /// # Panics
    /// Panics if it does not, or there is no `kill`.
    pub(crate) fn terminate(mut self) {
        self.signal("TERM");
        eventually("a program exits", || self.0.try_wait().expect("the child is ours"));
    }

    /// Sends it a signal, such as `STOP`.
    ///
    /// # Panics
    /// Panics if there is no `kill`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Limits the size that the files of a process can reach; `None` for no limit.
///
/// # Panics
/// Panics if there is no `prlimit`.
pub(crate) fn limit_files(pid: u32, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".into(), |bytes| bytes.to_string());
    let arguments = ["--pid", &pid.to_string(), &format!("--fsize={limit}:")];
    let status = Command::new("prlimit").args(arguments).status();
    assert!(status.expect("prlimit is part of util-linux").success());
}

/// Sends a signal, such as `STOP`, to a process. After `STOP`, none of its threads runs any more:
/// `kill` returns before that.
///
/// # Panics
/// Panics if there is no `kill`.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("kill is installed").success());
    if name == "STOP" {
        eventually("the stop of all threads", || is_stopped(pid).then_some(()));
    }
}

/// Returns whether all threads of a process are stopped; see proc_pid_stat(5).
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    threads.flatten().all(|thread| {
        // A thread that has ended has no file.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
    })
}
