//! The open connections of a node, by their ids.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::id::ConnectionId;

const SHARDS: usize = 32;

/// Finds a connection by its id. Does not keep it alive.
pub(crate) struct Directory<C> {
    shards: [Mutex<HashMap<ConnectionId, Weak<C>>>; SHARDS],
}

impl<C> Directory<C> {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn insert(&self, id: ConnectionId, connection: &Arc<C>) {
        self.shard(id).lock().insert(id, Arc::downgrade(connection));
    }

    /// Returns `None` if the connection is closed.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<C>> {
        self.shard(id).lock().get(&id).and_then(Weak::upgrade)
    }

    pub(crate) fn remove(&self, id: ConnectionId) {
        let mut shard = self.shard(id).lock();
        shard.remove(&id);
        if shard.capacity() > 1024 && shard.len() < shard.capacity() / 4 {
            shard.shrink_to_fit();
        }
    }

    /// Iterates over all connections, in no order. Those that are opened meanwhile may be missing.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<C>> {
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().values().filter_map(Weak::upgrade).collect::<Vec<_>>())
    }

    fn shard(&self, id: ConnectionId) -> &Mutex<HashMap<ConnectionId, Weak<C>>> {
        &self.shards[id.shard(SHARDS)]
    }
}
