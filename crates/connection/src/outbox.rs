//! The bytes that wait for a slow reader: a bounded queue, and how far its first entry has been written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Frames waiting for one connection. Empty, it owns no memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    /// Bytes of the first frame that the socket has taken.
    written: usize,
    /// Bytes waiting, all frames together.
    bytes: usize,
}

impl Outbox {
    /// Puts a frame at the end; its first `written` bytes have left already.
    pub(crate) fn push(&mut self, frame: Bytes, written: usize) {
        debug_assert!(written == 0 || self.frames.is_empty());
        if frame.len() > written {
            self.bytes += frame.len() - written;
            self.written = if self.frames.is_empty() { written } else { self.written };
            self.frames.push_back(frame);
        }
    }

    /// Takes `n` bytes off the front; returns how many frames that completed.
    pub(crate) fn advance(&mut self, mut n: usize) -> usize {
        self.bytes -= n;
        let mut completed = 0;
        while let Some(front) = self.frames.front() {
            let left = front.len() - self.written;
            if n < left {
                self.written += n;
                return completed;
            }
            n -= left;
            completed += 1;
            self.written = 0;
            self.frames.pop_front();
        }
        self.frames = VecDeque::new();
        completed
    }

    /// Takes the first frame, as far as it is not written.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?.slice(self.written..);
        self.written = 0;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Forgets all frames but the first `keep`.
    pub(crate) fn truncate(&mut self, keep: usize) {
        self.frames.truncate(keep);
        self.bytes = self.frames.iter().map(Bytes::len).sum();
        if self.frames.is_empty() {
            *self = Self::default();
        } else {
            self.bytes -= self.written;
        }
    }

    /// The front of the queue, ready for one vectored write.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, frame) in into.iter_mut().zip(&self.frames) {
            *slot = IoSlice::new(if filled == 0 { &frame[self.written..] } else { frame });
            filled += 1;
        }
        filled
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the client has got a part of the first frame and not the rest.
    pub(crate) fn inside_a_frame(&self) -> bool {
        self.written > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is written in whatever pieces, what comes out is what went in.
        #[test]
        fn nothing_is_lost_or_reordered(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..20), pieces in prop::collection::vec(1usize..30, 1..200)) {
            let mut outbox = Outbox::default();
            for frame in &frames {
                outbox.push(Bytes::from(frame.clone()), 0);
            }
            let mut out = Vec::new();
            for piece in pieces.into_iter().cycle() {
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = outbox.slices(&mut slices);
                let flat: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
                if flat.is_empty() {
                    break;
                }
                let n = piece.min(flat.len());
                out.extend_from_slice(&flat[..n]);
                outbox.advance(n);
                prop_assert_eq!(outbox.bytes(), frames.iter().map(Vec::len).sum::<usize>() - out.len());
            }
            prop_assert_eq!(out, frames.concat());
            prop_assert!(outbox.is_empty() && !outbox.inside_a_frame());
        }
    }

    #[test]
    fn truncating_keeps_what_is_written_of_the_first() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"head"), 1);
        outbox.push(Bytes::from_static(b"payload"), 0);
        outbox.truncate(1);
        assert_eq!(outbox.bytes(), 3);
        assert_eq!(outbox.pop().as_deref(), Some(&b"ead"[..]));
    }
}
