use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::*;

/// A log whose reader decides about each write: it accepts some of the bytes, or fails.
struct Played {
    writes: SyncSender<Vec<u8>>,
    answers: Receiver<io::Result<usize>>,
}

impl Write for Played {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.writes.send(bytes.to_vec());
        self.answers.recv().unwrap_or(Ok(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Reader {
    queue: Arc<LineQueue>,
    writes: Receiver<Vec<u8>>,
    answers: Sender<io::Result<usize>>,
}

fn started() -> Reader {
    let (sender, writes) = sync_channel(0);
    let (answers, receiver) = channel();
    let queue = LineQueue::start(Played { writes: sender, answers: receiver }).unwrap();
    Reader { queue, writes, answers }
}

impl Reader {
    /// Returns the next write, which is not answered yet.
    fn next(&self) -> String {
        let write = self.writes.recv_timeout(Duration::from_secs(20)).expect("a write");
        String::from_utf8(write).unwrap()
    }

    fn fail(&self, kind: ErrorKind) {
        self.answers.send(Err(kind.into())).unwrap();
    }

    fn take(&self, bytes: usize) {
        self.answers.send(Ok(bytes)).unwrap();
    }
}

#[test]
fn f01_a_reader_that_hangs_loses_lines_and_gets_their_number() {
    let subscriber = tracing_subscriber::fmt().with_writer(io::sink).finish();
    let _quiet = tracing::subscriber::set_default(subscriber);
    let reader = started();
    reader.queue.push(b"first\n");
    assert_eq!(reader.next(), "first\n");
    // The reader hangs.
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    for _ in 0..CAPACITY / line.len() + 10 {
        reader.queue.push(&line);
    }
    assert_eq!(reader.queue.dropped(), 10);
    assert!(reader.queue.state.lock().lines.capacity() <= 2 * CAPACITY);
    reader.queue.flush(Duration::from_millis(1));
    assert_eq!(reader.queue.state.lock().unreported, 10);
    // The reader continues.
    reader.take("first\n".len());
    for _ in 0..CAPACITY / PIECE {
        let piece = reader.next();
        assert_eq!((piece.len(), &piece[1023..1024]), (PIECE, "\n"), "whole lines");
        reader.take(piece.len());
    }
    assert_eq!((reader.queue.state.lock().unreported, reader.queue.dropped()), (0, 10));
}

#[test]
fn f02_an_error_costs_the_lines_that_were_not_written() {
    for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::FileTooLarge] {
        let reader = started();
        reader.queue.push(b"one\n");
        assert_eq!(reader.next(), "one\n");
        reader.queue.push(b"two\n");
        reader.queue.push(b"three\n");
        reader.take(4);
        assert_eq!(reader.next(), "two\nthree\n");
        reader.take(6);
        assert_eq!(reader.next(), "ree\n");
        reader.fail(kind);
        reader.queue.flush(Duration::from_secs(20));
        assert_eq!(reader.queue.dropped(), 1);
        reader.queue.push(b"four\n");
        assert_eq!(reader.next(), "\n", "a torn line does not run into the next");
        reader.take(1);
        assert_eq!(reader.next(), "four\n");
        reader.fail(ErrorKind::Interrupted);
        assert_eq!(reader.next(), "four\n");
        reader.fail(ErrorKind::WouldBlock);
        assert_eq!(reader.next(), "four\n");
        reader.take(5);
        reader.queue.flush(Duration::from_secs(20));
        assert_eq!(reader.queue.dropped(), 1);
    }
}

#[test]
fn f01_lines_of_many_threads_arrive_whole_and_in_their_order() {
    let (sender, receiver) = channel();
    struct Collected(Sender<Vec<u8>>);
    impl Write for Collected {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(700);
            self.0.send(bytes[..some].to_vec()).unwrap();
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let queue = LineQueue::start(Collected(sender)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let queue = &queue;
            scope.spawn(move || {
                for line in 0..500 {
                    queue.push(format!("{thread} {line} {}\n", "x".repeat(line * 3 % 5000)).as_bytes());
                }
            });
        }
    });
    queue.flush(Duration::from_secs(20));
    let text = String::from_utf8(receiver.try_iter().flatten().collect()).unwrap();
    let mut next = [0; 8];
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let thread: usize = words.next().unwrap().parse().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next().unwrap().len(), number * 3 % 5000);
        assert!(number >= next[thread], "{line:.20}");
        next[thread] = number + 1;
    }
    assert_eq!(text.lines().count() as u64 + queue.dropped(), 4000);
}
