//! A queue whose items have numbers. It grows and shrinks by pieces, so that no push ever copies
//! all items, and no memory is reserved beyond them.

use std::collections::VecDeque;

/// The number of an item: that of the one before plus one, beginning anew after `u32::MAX`.
pub(crate) type Number = u32;

/// Items of a piece.
const PIECE: usize = 1024;

pub(crate) struct Chunks<T> {
    pieces: VecDeque<Vec<T>>,
    /// A piece without items, since the next one is soon needed.
    spare: Option<Vec<T>>,
    /// The number of the first item of the first piece, which may have been taken.
    base: Number,
    first: Number,
    next: Number,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), spare: None, base: 0, first: 0, next: 0 }
    }
}

impl<T: Default> Chunks<T> {
    /// Adds an item after all others. Returns its number.
    pub(crate) fn push(&mut self, item: T) -> Number {
        if self.pieces.back().is_none_or(|piece| piece.len() == PIECE) {
            let piece = self.spare.take().unwrap_or_else(|| Vec::with_capacity(PIECE));
            self.pieces.push_back(piece);
        }
        self.pieces.back_mut().expect("a piece has just been added").push(item);
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }

    /// Takes the oldest item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let place = self.place(self.first)?;
        let piece = self.pieces.front_mut()?;
        let item = std::mem::take(&mut piece[place]);
        self.first = self.first.wrapping_add(1);
        if place + 1 == PIECE {
            let mut piece = self.pieces.pop_front()?;
            piece.clear();
            self.spare = Some(piece);
            self.base = self.first;
        }
        Some(item)
    }

    pub(crate) fn get(&self, number: Number) -> Option<&T> {
        let place = self.place(number)?;
        self.pieces.get(place / PIECE)?.get(place % PIECE)
    }

    /// Returns the oldest item.
    pub(crate) fn front(&self) -> Option<&T> {
        self.get(self.first)
    }

    /// Returns the item that this number of others are older than.
    pub(crate) fn nth(&self, older: usize) -> Option<&T> {
        if older < self.len() { self.get(self.first.wrapping_add(older as Number)) } else { None }
    }

    /// Returns the number of the oldest item; of the next one if there is none.
    pub(crate) const fn first(&self) -> Number {
        self.first
    }

    /// Returns the number that the next item will have.
    pub(crate) const fn next(&self) -> Number {
        self.next
    }

    pub(crate) const fn len(&self) -> usize {
        self.next.wrapping_sub(self.first) as usize
    }

    /// Returns where an item is, counted from the first item of the first piece.
    fn place(&self, number: Number) -> Option<usize> {
        let present = number.wrapping_sub(self.first) < self.next.wrapping_sub(self.first);
        present.then(|| number.wrapping_sub(self.base) as usize)
    }
}

/// Access for tests.
#[cfg(test)]
impl<T> Chunks<T> {
    /// Sets the number of the first item of an empty queue.
    pub(crate) fn begin_at(&mut self, number: Number) {
        (self.base, self.first, self.next) = (number, number, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_found_by_number_until_they_are_taken() {
        let mut chunks = Chunks::default();
        // The numbers begin anew in the middle.
        chunks.begin_at(u32::MAX - 2000);
        let start = chunks.next();
        let mut taken = 0;
        for item in 0..10_000u32 {
            assert_eq!(chunks.push(item), start.wrapping_add(item));
            if item % 3 != 0 {
                assert_eq!(chunks.pop(), Some(taken));
                taken += 1;
            }
            assert_eq!(chunks.len(), (item + 1 - taken) as usize);
            assert_eq!(chunks.front(), Some(&taken));
            assert_eq!(chunks.first(), start.wrapping_add(taken));
            assert_eq!(chunks.get(start.wrapping_add(item)), Some(&item));
            assert_eq!(chunks.get(start.wrapping_add(taken).wrapping_sub(1)), None);
            assert_eq!(chunks.get(start.wrapping_add(item + 1)), None);
            assert!(chunks.pieces.len() <= chunks.len() / PIECE + 2);
        }
    }

    #[test]
    fn an_empty_queue_has_nothing() {
        let mut chunks = Chunks::<u32>::default();
        assert_eq!((chunks.pop(), chunks.front(), chunks.len()), (None, None, 0));
        for item in 0..PIECE as u32 {
            chunks.push(item);
            assert_eq!(chunks.pop(), Some(item));
        }
        assert_eq!((chunks.pop(), chunks.front(), chunks.len()), (None, None, 0));
    }
}
