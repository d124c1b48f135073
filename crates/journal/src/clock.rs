//! The clock of a folder: it counts milliseconds across all processes that have had the folder
//! open.

use std::hash::{BuildHasher, RandomState};

use rustix::time::{ClockId, clock_gettime};

/// The readings of the machine's monotonic clock and of the folder's clock at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Identifies the boot of the kernel since which `uptime` counts.
    pub(crate) boot: String,
    /// Milliseconds since the machine was started, suspension included.
    pub(crate) uptime: u64,
    /// Milliseconds on the folder's clock.
    pub(crate) folder: u64,
}

/// The machine: which boot of its kernel this is, and how long ago it was.
pub(crate) trait Machine: Send + Sync + 'static {
    fn boot(&self) -> String;
    fn uptime(&self) -> u64;
}

/// The machine that the process runs on.
pub(crate) struct Here;

impl Machine for Here {
    /// If the kernel does not report it, every process counts as a new boot, so that no time passes
    /// on the folder's clock between two processes.
    fn boot(&self) -> String {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        boot.map_or_else(
            |_| format!("unknown-{:x}", RandomState::new().hash_one(0)),
            |id| id.trim().to_owned(),
        )
    }

    fn uptime(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    }
}

/// The folder's clock while the folder is open.
pub(crate) struct FolderClock {
    machine: Box<dyn Machine>,
    from: Stamp,
}

impl FolderClock {
    /// Continues from the last stamp. Since the same boot of the kernel, all time that has passed
    /// is counted; after a reboot, none is, because it is not known how much has passed.
    pub(crate) fn resume(last: Option<Stamp>, machine: impl Machine) -> Self {
        let (boot, uptime) = (machine.boot(), machine.uptime());
        let folder = last.map_or(0, |last| match last.boot == boot {
            true => last.folder + uptime.saturating_sub(last.uptime),
            false => last.folder,
        });
        Self { machine: Box::new(machine), from: Stamp { boot, uptime, folder } }
    }

    /// Milliseconds on the folder's clock.
    pub(crate) fn now(&self) -> u64 {
        self.from.folder + self.machine.uptime().saturating_sub(self.from.uptime)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let uptime = self.machine.uptime();
        let folder = self.from.folder + uptime.saturating_sub(self.from.uptime);
        Stamp { boot: self.from.boot.clone(), uptime, folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(&'static str, u64);

    impl Machine for Fake {
        fn boot(&self) -> String {
            self.0.to_owned()
        }

        fn uptime(&self) -> u64 {
            self.1
        }
    }

    fn last() -> Option<Stamp> {
        Some(Stamp { boot: "a".into(), uptime: 1000, folder: 50 })
    }

    #[test]
    fn d08_time_is_counted_while_the_process_is_down() {
        let clock = FolderClock::resume(last(), Fake("a", 1700));
        assert_eq!(clock.now(), 750);
        assert_eq!(clock.stamp(), Stamp { boot: "a".into(), uptime: 1700, folder: 750 });
    }

    #[test]
    fn d08_no_time_is_counted_after_a_reboot() {
        assert_eq!(FolderClock::resume(last(), Fake("b", 999_999)).now(), 50);
        assert_eq!(FolderClock::resume(None, Fake("b", 5)).now(), 0);
    }

    #[test]
    fn this_machine_has_a_clock() {
        let (boot, uptime) = (Here.boot(), Here.uptime());
        assert_eq!(boot, Here.boot());
        assert!(!boot.is_empty() && Here.uptime() >= uptime);
    }
}
