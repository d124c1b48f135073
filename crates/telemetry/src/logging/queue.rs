//! The queue of log lines for standard error.
//!
//! Logging copies the line into a bounded buffer, which a separate thread writes. If the reader of
//! the log hangs or has gone, or the disk is full, lines that do not fit are dropped and counted,
//! but no request is delayed.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Limit of the bytes queued for the thread. It may be writing as many at the same time.
const CAPACITY: usize = 1 << 20;

/// Bytes of capacity that the buffers keep after a burst is written.
const KEPT: usize = 1 << 16;

/// Bytes of whole lines in one write. A pipe accepts that much atomically (`PIPE_BUF` on Linux), so
/// lines of several processes that share a pipe do not mix.
const PIECE: usize = 4096;

/// Pause between two writes. Lines logged within it are written together, and wake the thread once.
const PAUSE: Duration = Duration::from_millis(5);

/// Pause before the next write after one that failed, or that returned `WouldBlock`.
const RETRY: Duration = Duration::from_millis(20);

/// A bounded queue of lines and the thread that writes them.
#[derive(Default)]
pub(super) struct LineQueue {
    state: Mutex<Buffered>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes the callers of `flush`.
    written: Condvar,
    /// Lines that were never written.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Buffered {
    /// Whole lines, each with its line feed.
    lines: Vec<u8>,
    /// Lines dropped and not reported in the log yet.
    unreported: u64,
    /// `true` if the thread waits for a line.
    idle: bool,
    /// `true` if the thread is writing lines that it has taken.
    writing: bool,
    /// Callers of [`LineQueue::flush`]; the thread does not pause while there are any.
    flushing: usize,
}

impl LineQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// Fails if the system grants no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let thread = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || thread.run(Lines::new(out)))?;
        Ok(queue)
    }

    /// Queues a line with its line feed, or drops it. Never waits for the thread.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.lines.len() + line.len() > CAPACITY {
            state.unreported += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line);
        if mem::take(&mut state.idle) {
            drop(state);
            self.work.notify_one();
        }
    }

    /// Waits until all lines are written or dropped, at most for `within`.
    pub(super) fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock();
        state.flushing += 1;
        self.work.notify_one();
        while state.writing || !state.lines.is_empty() {
            if self.written.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.flushing -= 1;
    }

    /// Returns how many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn run(&self, mut out: Lines<impl Write>) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            let lost = out.write(&batch);
            batch.clear();
            batch.shrink_to(KEPT);
            let unreported = self.finish(lost);
            if unreported > 0 {
                // Queued after the lines that precede the dropped ones, so that the report marks
                // the gap.
                tracing::warn!(target: "rig::log", lines = unreported, "log lines were dropped: their reader is too slow");
            }
        }
    }

    /// Waits for lines and takes all of them.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut state = self.state.lock();
        while state.lines.is_empty() {
            state.idle = true;
            self.work.wait(&mut state);
        }
        state.idle = false;
        state.writing = true;
        mem::swap(batch, &mut state.lines);
    }

    /// Finishes a write that lost `lost` lines. Returns how many dropped lines to report in the
    /// log: 0 while it cannot be written.
    fn finish(&self, lost: u64) -> u64 {
        let mut state = self.state.lock();
        state.writing = false;
        self.written.notify_all();
        if lost > 0 {
            state.unreported += lost;
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        } else if state.unreported > 0 {
            return mem::take(&mut state.unreported);
        }
        if state.flushing == 0 {
            self.work.wait_for(&mut state, if lost > 0 { RETRY } else { PAUSE });
        }
        0
    }
}

/// Writes whole lines. After an error, lines are dropped; otherwise it is ignored.
struct Lines<W> {
    out: W,
    /// `true` if the last write stopped inside a line.
    torn: bool,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    /// Writes lines and returns how many could not be written.
    fn write(&mut self, mut lines: &[u8]) -> u64 {
        if self.torn && self.piece(b"\n") == 0 {
            return count(lines);
        }
        while !lines.is_empty() {
            let (piece, rest) = lines.split_at(end_of_piece(lines));
            let written = self.piece(piece);
            if written > 0 {
                self.torn = piece[written - 1] != b'\n';
            }
            if written < piece.len() {
                return count(&lines[written..]);
            }
            lines = rest;
        }
        0
    }

    /// Writes as much as possible and returns the number of bytes written.
    fn piece(&mut self, piece: &[u8]) -> usize {
        let mut written = 0;
        while written < piece.len() {
            match self.out.write(&piece[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the open file has set O_NONBLOCK on it.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                Err(_) => break,
            }
        }
        written
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Returns the end of the whole lines that fit into one piece; at least one line.
fn end_of_piece(lines: &[u8]) -> usize {
    if lines.len() <= PIECE {
        return lines.len();
    }
    let feed = |byte: &u8| *byte == b'\n';
    let end = lines[..PIECE].iter().rposition(feed);
    end.or_else(|| lines.iter().position(feed)).map_or(lines.len(), |last| last + 1)
}

#[cfg(test)]
mod tests;
