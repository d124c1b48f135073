//! Chains: from a key to the newest entry with it, and from each entry to the one before.

use hashbrown::HashTable;

use crate::chunks::Number;
use crate::keys::Fingerprint;

/// Identifies a chain while it has entries.
pub(crate) type ChainId = u32;

/// An entry's place in one of its chains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    pub(crate) chain: ChainId,
    /// The entry before with the same key; the entry itself if there was none.
    pub(crate) previous: Number,
}

#[derive(Clone, Copy)]
struct Chain {
    fingerprint: Fingerprint,
    newest: Number,
    /// The number of entries; 0 for a chain that can be used again.
    length: u32,
}

/// All chains that have entries.
pub(crate) struct Chains {
    by_key: HashTable<ChainId>,
    chains: Vec<Chain>,
    free: Vec<ChainId>,
}

impl Chains {
    /// Bytes of a chain, with its share of the table.
    pub(crate) const BYTES: usize = size_of::<Chain>() + 2 * size_of::<ChainId>();

    /// Creates an empty set with room for this number, since a table that grows stops everything.
    pub(crate) fn with_capacity(chains: usize) -> Self {
        Self {
            by_key: HashTable::with_capacity(chains),
            chains: Vec::with_capacity(chains),
            free: Vec::new(),
        }
    }

    /// Returns the number of chains that have entries.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn find(&self, fingerprint: Fingerprint) -> Option<ChainId> {
        let is_it = |id: &ChainId| self.chains[*id as usize].fingerprint == fingerprint;
        self.by_key.find(fingerprint.hash(), is_it).copied()
    }

    /// Returns the number of entries of a chain.
    pub(crate) fn length(&self, chain: ChainId) -> u32 {
        self.chains[chain as usize].length
    }

    /// Returns the newest entry of a chain.
    pub(crate) fn newest(&self, chain: ChainId) -> Number {
        self.chains[chain as usize].newest
    }

    /// Adds an entry, newer than all others, to the chain of a key. Returns its link.
    pub(crate) fn extend(&mut self, fingerprint: Fingerprint, entry: Number) -> Link {
        if let Some(id) = self.find(fingerprint) {
            let chain = &mut self.chains[id as usize];
            let previous = std::mem::replace(&mut chain.newest, entry);
            chain.length += 1;
            return Link { chain: id, previous };
        }
        let chain = Chain { fingerprint, newest: entry, length: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                self.chains[id as usize] = chain;
                id
            }
            None => {
                self.chains.push(chain);
                ChainId::try_from(self.chains.len() - 1).expect("there are fewer chains than entries")
            }
        };
        let chains = &self.chains;
        self.by_key.insert_unique(fingerprint.hash(), id, |id| chains[*id as usize].fingerprint.hash());
        Link { chain: id, previous: entry }
    }

    /// Removes the oldest entry of a chain. Returns `true` if it was the last one.
    pub(crate) fn shorten(&mut self, id: ChainId) -> bool {
        let chain = &mut self.chains[id as usize];
        chain.length -= 1;
        if chain.length > 0 {
            return false;
        }
        let hash = chain.fingerprint.hash();
        if let Ok(found) = self.by_key.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        self.free.push(id);
        true
    }
}
