//! A disk for the store that can lose power or fill up.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// What has been written, and which part would survive a power cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// As the process sees it.
    seen: Vec<u8>,
    /// As it was at the last sync.
    synced: Vec<u8>,
    /// The changes since.
    since: Vec<Change>,
    /// Calls until the process dies or the disk is full; `None` for no limit.
    calls_left: Option<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What a disk writes atomically, in bytes.
const SECTOR: usize = 512;

/// Random numbers from a seed (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

impl Disk {
    /// Makes all calls fail after this many.
    pub(super) fn fail_after(&self, calls: usize) {
        self.0.lock().calls_left = Some(calls);
    }

    pub(super) fn heal(&self) {
        self.0.lock().calls_left = None;
    }

    /// Returns what is on the disk after a power cut: everything that was synced, and any subset of
    /// the sectors written since, later ones without earlier ones included.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Self {
        let state = self.0.lock();
        let mut found = state.synced.clone();
        for change in &state.since {
            match (change, random.below(3)) {
                (_, 0) => {}
                (Change::Length(length), _) => found.resize(*length, 0),
                (Change::Write(at, bytes), torn) => {
                    let kept = if torn == 1 {
                        random.below(bytes.len().div_ceil(SECTOR) + 1) * SECTOR
                    } else {
                        bytes.len()
                    };
                    write(&mut found, *at, &bytes[..kept.min(bytes.len())]);
                }
            }
        }
        Self(Arc::new(Mutex::new(State { seen: found.clone(), synced: found, ..State::default() })))
    }
}

fn write(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[at..end].copy_from_slice(bytes);
}

impl State {
    fn call(&mut self) -> io::Result<()> {
        match &mut self.calls_left {
            Some(0) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        let at = offset as usize;
        let read = state.seen.get(at..at + out.len());
        out.copy_from_slice(read.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        state.seen.resize(len as usize, 0);
        state.since.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        state.synced = state.seen.clone();
        state.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        state.call()?;
        write(&mut state.seen, offset as usize, data);
        state.since.push(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}
