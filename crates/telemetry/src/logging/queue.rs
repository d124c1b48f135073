//! Log lines on their way to standard error.
//!
//! Whoever logs copies its line into a bounded buffer and goes on; a thread of its own writes the buffer. A reader of
//! the log that hangs or has gone, or a disk without space, costs lines, never a request: lines that do not fit are
//! dropped and counted.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes of lines that wait for the thread; as many may be in its hands.
const CAPACITY: usize = 1 << 20;

/// What the buffers keep of their memory once a burst is written, in bytes.
const KEPT: usize = 1 << 16;

/// Bytes of whole lines in one write. A pipe takes that much in one piece (POSIX: `PIPE_BUF` on Linux), so the lines of
/// several processes that share a pipe do not mix.
const PIECE: usize = 4096;

/// Between two writes. Lines that come within it are written together, and wake the thread once.
const PAUSE: Duration = Duration::from_millis(5);

/// Before the next write after one that failed, or to a descriptor that does not block and is full.
const RETRY: Duration = Duration::from_millis(20);

/// A bounded queue of lines and the thread that writes them.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those that flush.
    written: Condvar,
    /// Lines that nobody will read.
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whole lines, each with its line feed.
    lines: Vec<u8>,
    /// Lines dropped since the log last said so.
    untold: u64,
    /// The thread waits for a line.
    idle: bool,
    /// The thread writes lines that it has taken.
    writing: bool,
    /// Callers of [`Queue::flush`]; the thread does not pause while there are any.
    flushing: usize,
}

impl Queue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system grants no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let thread = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || thread.run(Lines::new(out)))?;
        Ok(queue)
    }

    /// Queues a line, which ends with its line feed, or drops it. Never waits for the thread.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.lines.len() + line.len() > CAPACITY {
            state.untold += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.lines.extend_from_slice(line);
        if mem::take(&mut state.idle) {
            drop(state);
            self.work.notify_one();
        }
    }

    /// Waits until all lines are written or given up, but not longer than `within`.
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

    /// Lines dropped so far.
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
            let untold = self.finish(lost);
            if untold > 0 {
                // Goes behind the lines that were queued before those dropped: where they are missing.
                tracing::warn!(target: "rig::log", lines = untold, "log lines were dropped: their reader is too slow");
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

    /// Ends a write that has lost so many lines. Returns how many dropped lines the log is to tell of: none while it
    /// cannot be written.
    fn finish(&self, lost: u64) -> u64 {
        let mut state = self.state.lock();
        state.writing = false;
        self.written.notify_all();
        if lost > 0 {
            state.untold += lost;
            self.dropped.fetch_add(lost, Ordering::Relaxed);
        } else if state.untold > 0 {
            return mem::take(&mut state.untold);
        }
        if state.flushing == 0 {
            self.work.wait_for(&mut state, if lost > 0 { RETRY } else { PAUSE });
        }
        0
    }
}

/// Writes whole lines, and survives every error.
struct Lines<W> {
    out: W,
    /// What was written last is a part of a line.
    torn: bool,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    /// Writes lines. Returns how many could not be written.
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

    /// Writes as much as can be written. Returns how many bytes that is.
    fn piece(&mut self, piece: &[u8]) -> usize {
        let mut written = 0;
        while written < piece.len() {
            match self.out.write(&piece[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever shares the descriptor has made it so (O_NONBLOCK is of the open file, not of a process).
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

/// Behind as many whole lines as fit into one piece, at least one.
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
