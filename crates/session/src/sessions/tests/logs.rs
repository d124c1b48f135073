//! Logs that outlive their sessions, and logs that fail.

use super::*;

/// A log that outlives its sessions, and fails to store more while `fails` is set.
#[derive(Clone, Default)]
pub(super) struct Kept {
    log: Arc<MemoryLog>,
    fails: Arc<Mutex<bool>>,
}

impl Kept {
    /// Sets whether the log fails from now on.
    pub(super) fn fail(&self, fails: bool) {
        *self.fails.lock() = fails;
    }
}

impl Log for Kept {
    fn load(&self, each: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        self.log.load(each)
    }

    fn append(&self, revocation: &Revocation) -> Result<Appended, LogError> {
        if *self.fails.lock() { broken() } else { self.log.append(revocation) }
    }

    fn unshare(&self, id: &RevocationId) -> Result<(), LogError> {
        self.log.unshare(id)
    }

    fn lift(&self, id: &RevocationId, by: Option<&str>) -> Result<Option<Record>, LogError> {
        self.log.lift(id, by)
    }

    fn record(&self, operations: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        if *self.fails.lock() { broken() } else { self.log.record(operations) }
    }

    fn advance(&self, position: Position) {
        self.log.advance(position);
    }

    fn unshared(&self, after: Seq, limit: usize) -> Result<Vec<Record>, LogError> {
        self.log.unshared(after, limit)
    }

    fn unshared_count(&self) -> u64 {
        self.log.unshared_count()
    }

    fn states(&self, after: Option<&StateCursor>, limit: usize) -> Result<StatePage, LogError> {
        self.log.states(after, limit)
    }

    fn lifted(&self, id: &RevocationId) -> Result<Option<u32>, LogError> {
        self.log.lifted(id)
    }

    fn receipt(&self, seq: Seq, node: &NodeName, receipt: Receipt) {
        self.log.receipt(seq, node, receipt);
    }

    fn find(&self, id: &RevocationId) -> Result<Option<Record>, LogError> {
        self.log.find(id)
    }

    fn page(&self, before: Option<Seq>, limit: usize) -> Result<Vec<Record>, LogError> {
        self.log.page(before, limit)
    }
}

/// A log whose operations all fail, except for loading if it is empty.
pub(super) struct Broken {
    pub(super) empty: bool,
}

fn broken<T>() -> Result<T, LogError> {
    Err(LogError("disk full".into()))
}

impl Log for Broken {
    fn load(&self, _: &mut dyn FnMut(Entry)) -> Result<Position, LogError> {
        if self.empty { Ok(Position::default()) } else { broken() }
    }

    fn append(&self, _: &Revocation) -> Result<Appended, LogError> {
        broken()
    }

    fn unshare(&self, _: &RevocationId) -> Result<(), LogError> {
        broken()
    }

    fn lift(&self, _: &RevocationId, _: Option<&str>) -> Result<Option<Record>, LogError> {
        broken()
    }

    fn record(&self, _: &[(Operation, Place)]) -> Result<Vec<Option<Entry>>, LogError> {
        broken()
    }

    fn advance(&self, _: Position) {}

    fn unshared(&self, _: Seq, _: usize) -> Result<Vec<Record>, LogError> {
        broken()
    }

    fn unshared_count(&self) -> u64 {
        0
    }

    fn states(&self, _: Option<&StateCursor>, _: usize) -> Result<StatePage, LogError> {
        broken()
    }

    fn lifted(&self, _: &RevocationId) -> Result<Option<u32>, LogError> {
        broken()
    }

    fn receipt(&self, _: Seq, _: &NodeName, _: Receipt) {}

    fn find(&self, _: &RevocationId) -> Result<Option<Record>, LogError> {
        broken()
    }

    fn page(&self, _: Option<Seq>, _: usize) -> Result<Vec<Record>, LogError> {
        broken()
    }
}
