//! A part of the sessions, behind one lock: which are blacklisted, and which connections each has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::connection::{Blacklisted, Connection};
use crate::members::{Id, Members};
use crate::name::SessionName;

/// Until when a session is blacklisted; `None`: longer than the clock can say.
pub(crate) type Deadline = Option<Instant>;

#[derive(Default)]
pub(crate) struct Shard {
    blacklist: HashMap<SessionName, Deadline>,
    sessions: HashMap<SessionName, Members>,
    /// All members of all sessions.
    connections: usize,
    /// Taken out by a revocation that is still telling them.
    ending: Vec<(SessionName, Arc<Members>)>,
}

/// What a revocation has found.
pub(crate) struct Revoked {
    /// Whether the session was legal before.
    pub(crate) new: bool,
    /// The connections it has taken out. They are ending until [`Shard::told`].
    pub(crate) taken: Option<Arc<Members>>,
    /// Those that other revocations have taken out, and may not have told yet.
    pub(crate) ending: Vec<Arc<Members>>,
}

impl Shard {
    /// Enters a connection, unless its session is blacklisted: both under the one lock of this shard.
    pub(crate) fn register(
        &mut self,
        name: &SessionName,
        id: Id,
        connection: Weak<dyn Connection>,
        now: Instant,
    ) -> Result<(), Blacklisted> {
        if self.is_blacklisted(name, now) {
            return Err(Blacklisted);
        }
        match self.sessions.entry(name.clone()) {
            Entry::Vacant(session) => drop(session.insert(Members::One(id, connection))),
            Entry::Occupied(mut session) => session.get_mut().insert(id, connection),
        }
        self.connections += 1;
        Ok(())
    }

    /// Removes the registration of this id; a session without connections is forgotten (d11).
    ///
    /// There is nothing to remove where a revocation has taken the connections out.
    pub(crate) fn unregister(&mut self, name: &SessionName, id: Id) {
        let Some(members) = self.sessions.get_mut(name) else { return };
        if members.is_only(id) {
            self.sessions.remove(name);
            shrink(&mut self.sessions);
            self.connections -= 1;
        } else if members.remove(id) {
            self.connections -= 1;
        }
    }

    /// Records a revocation and takes out the connections of its session: both under the one lock of this shard.
    ///
    /// A revocation never shortens one that is in force. One whose time is up already is not recorded.
    pub(crate) fn revoke(&mut self, name: &SessionName, deadline: Deadline, now: Instant) -> Revoked {
        let ending = self.ending.iter().filter(|(ending, _)| ending == name);
        let ending = ending.map(|(_, members)| members.clone()).collect();
        let taken = self.sessions.remove(name).map(Arc::new);
        if let Some(members) = &taken {
            shrink(&mut self.sessions);
            self.connections -= members.len();
            self.ending.push((name.clone(), members.clone()));
        }
        let ahead = is_ahead(deadline, now);
        let new = ahead && !self.is_blacklisted(name, now);
        if ahead {
            let known = self.blacklist.entry(name.clone()).or_insert(deadline);
            *known = known.zip(deadline).map(|(known, deadline)| known.max(deadline));
        }
        Revoked { new, taken, ending }
    }

    /// The connections that a revocation took out have all been told.
    pub(crate) fn told(&mut self, taken: &Arc<Members>) {
        self.ending.retain(|(_, ending)| !Arc::ptr_eq(ending, taken));
        self.ending.shrink_to(8);
    }

    pub(crate) fn is_blacklisted(&self, name: &SessionName, now: Instant) -> bool {
        self.blacklist.get(name).is_some_and(|deadline| is_ahead(*deadline, now))
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.blacklist.retain(|_, deadline| is_ahead(*deadline, now));
        shrink(&mut self.blacklist);
    }

    /// Sessions with connections.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Registrations.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Entries of the blacklist, those included that have expired since the last sweep.
    pub(crate) fn blacklisted(&self) -> usize {
        self.blacklist.len()
    }

    /// Room for entries, used or not.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn capacity(&self) -> usize {
        self.blacklist.capacity() + self.sessions.capacity() + self.ending.capacity()
    }
}

fn is_ahead(deadline: Deadline, now: Instant) -> bool {
    deadline.is_none_or(|deadline| now < deadline)
}

/// Gives memory back after a storm. What it leaves is far from both the next growth and the next shrinking, so that
/// coming and going at a steady number moves nothing.
fn shrink<V>(map: &mut HashMap<SessionName, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
