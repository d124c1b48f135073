//! Settings of the memory for what is queued for slow clients.

use std::fs::read_to_string;

use super::kind::{ValueKind, parse_bytes};
use super::reader::Reader;

/// Memory to assume if the system does not report any.
const UNKNOWN: u64 = 2 << 30;

/// Reads the limit of the bytes that are queued for all slow clients together.
pub(super) fn read_waiting_bytes(reader: &mut Reader) -> usize {
    let given = optional_bytes(reader, "WAITING_BYTES");
    usize::try_from(given.unwrap_or_else(|| available() / 2)).unwrap_or(usize::MAX)
}

/// Reads the limit of one event, which must fit in each reader's `outbox`. By default it is the
/// whole outbox.
pub(super) fn read_max_event(reader: &mut Reader, outbox: usize) -> usize {
    let Some(given) = optional_bytes(reader, "MAX_EVENT_BYTES") else { return outbox };
    let given = usize::try_from(given).unwrap_or(usize::MAX);
    if given > outbox {
        reader.mistake("MAX_EVENT_BYTES", format!("more than OUTBOX_BYTES; expected at most {outbox}"));
    }
    given
}

fn optional_bytes(reader: &mut Reader, name: &str) -> Option<u64> {
    reader.optional(name, |text, kind| {
        let ValueKind::Bytes { least, most } = kind else { unreachable!("the row is one of bytes") };
        let bytes = parse_bytes(text).filter(|bytes| (least..=most).contains(bytes));
        bytes.ok_or_else(|| format!("expected {kind}"))
    })
}

/// Returns the memory that this process may use: that of its container, if it is in one, otherwise
/// that of the machine.
fn available() -> u64 {
    let container = read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|max| max.trim().parse().ok());
    let machine = read_to_string("/proc/meminfo").ok().as_deref().and_then(total);
    container.into_iter().chain(machine).min().unwrap_or(UNKNOWN)
}

/// Returns the total of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let kibibytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = kibibytes.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_known() {
        let meminfo = "MemTotal:       16384 kB\nMemFree:         1024 kB\n";
        assert_eq!(total(meminfo), Some(16 << 20));
        assert!(available() > 0);
    }
}
