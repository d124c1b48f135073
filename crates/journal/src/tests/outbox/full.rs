//! A queue that is full: what comes then is lost, and the next change says how many were.

use std::time::Instant;

use session::Clock;

use super::*;
use crate::MemoryOutbox;
use crate::outbox::LIMIT;

struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Returns how many changes were dropped before each of the youngest two.
fn youngest(outbox: &dyn Outbox) -> Vec<u64> {
    let changes = outbox.oldest(ALL).unwrap();
    changes[changes.len() - 2..].iter().map(|change| change.dropped).collect()
}

#[test]
fn a_queue_in_memory_is_bounded() {
    let outbox = MemoryOutbox::with_clock(Monotonic);
    let add = |sequence: u64| {
        let (id, kind, at) = (sequence.into(), ChangeKind::Accepted, SystemTime::UNIX_EPOCH);
        outbox.add(Change { sequence, id, kind, at, age: Duration::ZERO, dropped: 0, data: String::new() });
    };
    (1..=LIMIT + 2).for_each(add);
    assert_eq!(outbox.counts(), OutboxCounts { queued: LIMIT, full: 2 });
    outbox.sent(&outbox.oldest(1).unwrap()[0]);
    add(LIMIT + 3);
    assert_eq!(youngest(&outbox), [0, 2]);
    outbox.sent(&outbox.oldest(1).unwrap()[0]);
    add(LIMIT + 4);
    assert_eq!(youngest(&outbox), [2, 0]);
    assert_eq!(outbox.counts(), OutboxCounts { queued: LIMIT, full: 2 });
    // Those that are given up count in addition.
    outbox.give_up(&outbox.oldest(ALL - 1).unwrap()[..LIMIT as usize - 2]);
    assert_eq!(youngest(&outbox), [LIMIT, 0]);
    outbox.sent(&outbox.oldest(1).unwrap()[0]);
    assert_eq!(outbox.oldest(1).unwrap()[0].dropped, 0);
}

#[test]
fn a_queue_on_disk_is_bounded_also_over_a_restart() {
    const ROWS: TableDefinition<'_, u64, (u128, u8, u64, u64, u64, &str)> =
        TableDefinition::new("outbox_hook");
    let folder = Temporary::new();
    drop(open(&folder, &[Outlet::Hook]));
    let store = Database::open(folder.file("revocations.redb")).unwrap();
    let write = store.begin_write().unwrap();
    let mut rows = write.open_table(ROWS).unwrap();
    for n in 1..LIMIT {
        rows.insert(n, (n.into(), 0, 0, 0, 0, "{}")).unwrap();
    }
    drop(rows);
    write.commit().unwrap();
    drop(store);

    let journal = open(&folder, &[Outlet::Hook]);
    let outbox = journal.outbox(Outlet::Hook).unwrap();
    for name in ["a", "b", "c"] {
        append(&journal, &revocation(name, MINUTE));
    }
    await_counted(&*outbox, LIMIT);
    let deadline = Instant::now() + Duration::from_secs(20);
    while outbox.counts().full < 2 {
        assert!(Instant::now() < deadline, "{:?}", outbox.counts());
        std::thread::yield_now();
    }
    assert_eq!(outbox.counts(), OutboxCounts { queued: LIMIT, full: 2 });
    drop((outbox, journal));

    // None of the three has a receipt: these reports are lost too.
    let journal = open(&folder, &[Outlet::Hook]);
    let outbox = journal.outbox(Outlet::Hook).unwrap();
    for (name, dropped) in [("d", [0, 5]), ("e", [5, 0])] {
        outbox.sent(&outbox.oldest(1).unwrap()[0]);
        append(&journal, &revocation(name, MINUTE));
        assert_eq!(youngest(&*outbox), dropped, "{name}");
    }
}
