//! What names a connection.

/// Names a connection on this node, for as long as the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Spreads connections over `n` shards.
    pub(crate) const fn shard(self, n: usize) -> usize {
        self.0 as usize % n
    }
}
