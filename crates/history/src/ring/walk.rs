//! Finds the entries that a selection selects.

use std::sync::Arc;

use super::{Entry, Ring};
use crate::chains::{ChainId, Link};
use crate::chunks::Number;
use crate::gap::Gap;
use crate::id::EventPosition;
use crate::keys::{Fingerprint, Selection};

/// An entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: Number,
    /// The type in the selection.
    pub(super) selected: u32,
}

/// A chain whose entries may be selected.
struct Walk {
    chain: ChainId,
    selected: u32,
    /// The other chains that an entry must be in, one of these sets; `None`: every entry is
    /// selected.
    others: Option<Vec<Box<[ChainId]>>>,
}

/// The limit of entries and sets of chains that one search looks at, about 2 ms. Only constraints
/// of several fields look at entries that they do not select.
const LOOKS: usize = if cfg!(test) { 40_000 } else { 200_000 };

impl Ring {
    /// Returns the entries after a position that are selected, each once, in order.
    ///
    /// # Errors
    /// Fails if there are more than `limit` in one chain, or too many had to be looked at.
    pub(super) fn find(
        &self,
        after: EventPosition,
        selection: &Selection,
        limit: usize,
    ) -> Result<Vec<Found>, Gap> {
        let mut found = Vec::new();
        let mut looks = 0;
        for walk in self.walks(selection) {
            let before = found.len();
            let mut number = self.chains.newest(walk.chain);
            while let Some(entry) = self.entries.get(number).filter(|entry| entry.position > after) {
                looks += walk.others.as_ref().map_or(1, |others| 1 + others.len());
                if looks > LOOKS {
                    return Err(Gap::TooMany);
                }
                if walk.selects(self, number, entry) {
                    if found.len() - before == limit {
                        return Err(Gap::TooMany);
                    }
                    found.push(Found { number, selected: walk.selected });
                }
                let previous = self.previous(number, entry, walk.chain);
                if previous == number {
                    break;
                }
                number = previous;
            }
        }
        found.sort_unstable_by_key(|found| self.place(found));
        found.dedup();
        Ok(found)
    }

    /// Returns where an entry is, counted from the oldest one.
    pub(super) const fn place(&self, found: &Found) -> Number {
        found.number.wrapping_sub(self.entries.first())
    }

    /// Returns the chains to walk: for each set of keys the shortest of their chains, each once.
    fn walks(&self, selection: &Selection) -> Vec<Walk> {
        let mut walks = Vec::new();
        for (selected, of_type) in (0..).zip(&selection.types) {
            // Without a chain of the type, there is no entry of it.
            let Some(type_chain) = self.chains.find(of_type.key.0) else { continue };
            let Some(one_of) = &of_type.one_of else {
                walks.push(Walk { chain: type_chain, selected, others: None });
                continue;
            };
            let mut by_chain: Vec<_> = one_of.iter().filter_map(|keys| self.shortest(keys)).collect();
            by_chain.sort_unstable();
            for sets in by_chain.chunk_by_mut(|left, right| left.0 == right.0) {
                let chain = sets[0].0;
                let all = sets.iter().any(|(_, others)| others.is_empty());
                let others = sets.iter_mut().map(|(_, others)| std::mem::take(others));
                let others = (!all).then(|| others.collect());
                walks.push(Walk { chain, selected, others });
            }
        }
        walks
    }

    /// Returns the shortest of the chains of these keys, and the others; `None` if a key has no
    /// entry.
    fn shortest(&self, keys: &[Fingerprint]) -> Option<(ChainId, Box<[ChainId]>)> {
        let mut chains: Vec<ChainId> =
            keys.iter().map(|key| self.chains.find(*key)).collect::<Option<_>>()?;
        let shortest = (0..chains.len()).min_by_key(|at| self.chains.length(chains[*at]))?;
        Some((chains.swap_remove(shortest), chains.into()))
    }

    /// Returns the entry before in a chain; the entry itself if there is none.
    fn previous(&self, number: Number, entry: &Entry, chain: ChainId) -> Number {
        // The entry has a link of this chain, so there is no need to look for where its links stop.
        let mut at = entry.links;
        while let Some(link) = self.links.get(at) {
            if link.chain == chain {
                return link.previous;
            }
            at = at.wrapping_add(1);
        }
        number
    }

    /// Returns the links of an entry, that of its type first.
    pub(super) fn links_of<'r>(
        &'r self,
        number: Number,
        entry: &Entry,
    ) -> impl Iterator<Item = &'r Link> + use<'r> {
        let start = entry.links;
        let end = self.entries.get(number.wrapping_add(1)).map_or(self.links.next(), |next| next.links);
        (0..end.wrapping_sub(start)).filter_map(move |at| self.links.get(start.wrapping_add(at)))
    }

    /// Returns the name of an entry's type.
    pub(super) fn type_of(&self, entry: &Entry) -> Option<&Arc<str>> {
        self.types.get(&self.links.get(entry.links)?.chain)
    }
}

impl Walk {
    fn selects(&self, ring: &Ring, number: Number, entry: &Entry) -> bool {
        let is_in = |chain: &ChainId| ring.links_of(number, entry).any(|link| link.chain == *chain);
        self.others.as_ref().is_none_or(|sets| sets.iter().any(|set| set.iter().all(is_in)))
    }
}
