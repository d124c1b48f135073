//! The bytes queued for a slow reader, and how much of the first frame is written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// The kind of a frame decides whether it may still leave after its session is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The response head.
    Head,
    /// An event.
    Payload,
    /// Heartbeats, pongs, farewells.
    Control,
}

/// Frames waiting for one connection. Empty, as it nearly always is, it is one null pointer.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

/// Frames, at least one.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<(Bytes, Kind)>,
    /// Bytes of the first frame that the socket has taken.
    written: usize,
    /// Bytes waiting, all frames together.
    bytes: usize,
}

impl Outbox {
    /// Puts a frame at the end; its first `written` bytes have left already.
    pub(crate) fn push(&mut self, frame: Bytes, kind: Kind, written: usize) {
        debug_assert!(written == 0 || self.is_empty());
        if frame.len() > written {
            let queue = self.0.get_or_insert_with(|| Box::new(Queue { written, ..Queue::default() }));
            queue.bytes += frame.len() - written;
            queue.frames.push_back((frame, kind));
        }
    }

    /// Takes `n` bytes off the front; returns whether some of them were payload.
    pub(crate) fn advance(&mut self, mut n: usize) -> bool {
        let Some(queue) = &mut self.0 else { return false };
        queue.bytes -= n;
        let mut payload = false;
        while let Some((front, kind)) = queue.frames.front() {
            payload |= n > 0 && *kind == Kind::Payload;
            let left = front.len() - queue.written;
            if n < left {
                queue.written += n;
                return payload;
            }
            n -= left;
            queue.written = 0;
            queue.frames.pop_front();
        }
        self.0 = None;
        payload
    }

    /// Puts a frame before all payload, unless the client has got a part of that.
    pub(crate) fn push_before_payload(&mut self, frame: Bytes, kind: Kind) {
        let Some(queue) = self.0.as_mut().filter(|_| !frame.is_empty()) else {
            return self.push(frame, kind, 0);
        };
        let payload = queue.frames.iter().position(|(_, kind)| *kind == Kind::Payload);
        let is_free = |at: &usize| *at > 0 || queue.written == 0;
        let at = payload.filter(is_free).unwrap_or(queue.frames.len());
        queue.bytes += frame.len();
        queue.frames.insert(at, (frame, kind));
    }

    /// Takes the first frame, as far as it is not written.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, Kind)> {
        let queue = self.0.as_mut()?;
        let (frame, kind) = queue.frames.pop_front()?;
        let frame = frame.slice(queue.written..);
        queue.written = 0;
        queue.bytes -= frame.len();
        self.forget_if_empty();
        Some((frame, kind))
    }

    /// Forgets the payload, none of which may be half written; returns how many frames that were.
    pub(crate) fn discard_payload(&mut self) -> usize {
        debug_assert!(!self.inside(Kind::Payload));
        let Some(queue) = &mut self.0 else { return 0 };
        let before = queue.frames.len();
        queue.frames.retain(|(_, kind)| *kind != Kind::Payload);
        let discarded = before - queue.frames.len();
        queue.bytes = queue.frames.iter().map(|(frame, _)| frame.len()).sum::<usize>() - queue.written;
        self.forget_if_empty();
        discarded
    }

    /// Forgets all frames; returns how many of them were payload.
    pub(crate) fn clear(&mut self) -> usize {
        let queue = self.0.take();
        let frames = queue.iter().flat_map(|queue| &queue.frames);
        frames.filter(|(_, kind)| *kind == Kind::Payload).count()
    }

    /// The front of the queue, ready for one vectored write: up to the first payload, unless
    /// `with_payload`.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>], with_payload: bool) -> usize {
        let Some(queue) = &self.0 else { return 0 };
        let mut filled = 0;
        for (slot, (frame, kind)) in into.iter_mut().zip(&queue.frames) {
            if *kind == Kind::Payload && !with_payload {
                break;
            }
            *slot = IoSlice::new(if filled == 0 { &frame[queue.written..] } else { frame });
            filled += 1;
        }
        filled
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// What the first frame is.
    pub(crate) fn first(&self) -> Option<Kind> {
        self.0.as_ref()?.frames.front().map(|(_, kind)| *kind)
    }

    /// Whether the client has got a part of a frame of this kind and not the rest.
    pub(crate) fn inside(&self, kind: Kind) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.written > 0) && self.first() == Some(kind)
    }

    fn forget_if_empty(&mut self) {
        self.0.take_if(|queue| queue.frames.is_empty());
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
                outbox.push(Bytes::from(frame.clone()), Kind::Payload, 0);
            }
            let mut out = Vec::new();
            for piece in pieces.into_iter().cycle() {
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = outbox.slices(&mut slices, true);
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
            prop_assert!(outbox.is_empty() && !outbox.inside(Kind::Payload));
        }
    }

    #[test]
    fn what_is_no_payload_overtakes_payload_unless_a_part_of_that_is_written() {
        let order = |written| {
            let mut outbox = Outbox::default();
            outbox.push(Bytes::from_static(b"head"), Kind::Head, 0);
            outbox.push(Bytes::from_static(b"one"), Kind::Payload, 0);
            outbox.push(Bytes::from_static(b"two"), Kind::Payload, 0);
            outbox.advance(written);
            outbox.push_before_payload(Bytes::from_static(b"::"), Kind::Control);
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = outbox.slices(&mut slices, false);
            let first: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let bytes = outbox.bytes();
            let all: Vec<_> = std::iter::from_fn(|| outbox.pop()).map(|(frame, _)| frame).collect();
            assert_eq!(bytes, all.concat().len());
            (String::from_utf8(all.concat()).unwrap(), String::from_utf8(first).unwrap())
        };
        assert_eq!(order(0), ("head::onetwo".into(), "head::".into()));
        assert_eq!(order(1), ("ead::onetwo".into(), "ead::".into()));
        assert_eq!(order(4), ("::onetwo".into(), "::".into()));
        assert_eq!(order(5), ("netwo::".into(), String::new()));
        assert_eq!(order(7), ("::two".into(), "::".into()));
    }

    #[test]
    fn discarding_payload_keeps_what_is_written_of_the_head() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"head"), Kind::Head, 1);
        outbox.push(Bytes::from_static(b"payload"), Kind::Payload, 0);
        outbox.push(Bytes::from_static(b"bye"), Kind::Control, 0);
        assert_eq!(outbox.discard_payload(), 1);
        assert_eq!(outbox.bytes(), 6);
        assert_eq!(outbox.pop(), Some((Bytes::from_static(b"ead"), Kind::Head)));
        assert_eq!(outbox.pop(), Some((Bytes::from_static(b"bye"), Kind::Control)));
    }
}
