//! The bytes of kept events.

use bytes::{Bytes, BytesMut};

/// Events up to this length are copied side by side into segments, so that they cost no allocation
/// each. A longer one has its own.
const COPIED: usize = 2 << 10;

/// Bytes of a segment. A reader that holds one event keeps the whole segment in memory. This is the
/// greatest small class of jemalloc: a larger allocation takes a page more than it has, which was
/// an eighth of the ring.
const SEGMENT: usize = 14 << 10;

/// Bytes of an event's JSON, without whatever larger buffer they came in.
#[derive(Clone, Debug)]
pub(crate) enum Payload<'e> {
    Short(&'e [u8]),
    Own(Bytes),
}

impl<'e> Payload<'e> {
    /// Copies what is long. Not under the lock of the ring, since it takes long as well.
    pub(crate) fn of(json: &'e [u8]) -> Self {
        match json.len() {
            ..=COPIED => Self::Short(json),
            _ => Self::Own(Bytes::copy_from_slice(json)),
        }
    }

    /// Returns the memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        memory_of(match self {
            Self::Short(json) => json.len(),
            Self::Own(json) => json.len(),
        })
    }
}

/// Returns the memory that an event of this length takes: an allocator rounds up what is larger
/// than a small class by up to a quarter.
pub(crate) const fn memory_of(length: usize) -> usize {
    if length <= SEGMENT { length } else { length + length / 4 }
}

/// Where the next short events are copied to.
#[derive(Default)]
pub(crate) struct Segment(BytesMut);

impl Segment {
    /// Returns bytes that can be kept.
    pub(crate) fn keep(&mut self, payload: Payload<'_>) -> Bytes {
        let json = match payload {
            Payload::Own(json) => return json,
            Payload::Short(json) => json,
        };
        if self.0.capacity() < json.len() {
            self.0 = BytesMut::with_capacity(SEGMENT);
        }
        self.0.extend_from_slice(json);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_does_not_keep_the_buffer_it_came_in() {
        let mut segment = Segment::default();
        let buffer = Bytes::from(vec![b'x'; 100_000]);
        for length in [0, 1, COPIED, COPIED + 1, 90_000] {
            let kept = segment.keep(Payload::of(&buffer[..length]));
            assert_eq!(kept, buffer[..length]);
            assert_eq!(matches!(Payload::of(&buffer[..length]), Payload::Own(_)), length > COPIED);
            assert!(kept.is_empty() || !buffer.as_ptr_range().contains(&kept.as_ptr()));
        }
        assert!(buffer.is_unique());
    }

    #[test]
    fn neighbours_share_a_segment() {
        let mut segment = Segment::default();
        let json = [b'x'; 1000];
        let kept: Vec<Bytes> = (0..1000).map(|_| segment.keep(Payload::of(&json))).collect();
        let adjacent = kept.windows(2).filter(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr());
        assert!(adjacent.count() > 900);
        assert!(kept.iter().all(|kept| kept == &json[..]));
    }
}
