//! A part of the sessions, behind one lock: which are blacklisted, and which connections each has.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::Instant;

use crate::name::SessionName;
use crate::sessions::{Blacklisted, Connection};

/// A connection of a session, under the id of its registration.
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) connection: Weak<dyn Connection>,
}

/// Most sessions have one connection; those cost no list.
enum Members {
    One(Member),
    Many(Vec<Member>),
}

/// Until when a session is blacklisted; `None`: longer than the clock can say.
type Deadline = Option<Instant>;

#[derive(Default)]
pub(crate) struct Shard {
    blacklist: HashMap<SessionName, Deadline>,
    sessions: HashMap<SessionName, Members>,
}

impl Shard {
    /// Enters a connection, unless its session is blacklisted: both under the one lock of this shard.
    pub(crate) fn register(
        &mut self,
        name: &SessionName,
        member: Member,
        now: Instant,
    ) -> Result<(), Blacklisted> {
        if self.is_blacklisted(name, now) {
            return Err(Blacklisted);
        }
        match self.sessions.get_mut(name) {
            None => {
                self.sessions.insert(name.clone(), Members::One(member));
            }
            Some(Members::Many(members)) => members.push(member),
            Some(one) => {
                let Members::One(first) = std::mem::replace(one, Members::Many(Vec::with_capacity(2))) else {
                    unreachable!("the other variant is matched above")
                };
                if let Members::Many(members) = one {
                    members.extend([first, member]);
                }
            }
        }
        Ok(())
    }

    /// Removes the registration of this id; a session without connections is forgotten (d11).
    pub(crate) fn unregister(&mut self, name: &SessionName, id: u64) {
        let empty = match self.sessions.get_mut(name) {
            None => return,
            Some(Members::One(member)) => member.id == id,
            Some(Members::Many(members)) => {
                members.retain(|member| member.id != id);
                members.is_empty()
            }
        };
        if empty {
            self.sessions.remove(name);
            shrink(&mut self.sessions);
        }
    }

    /// Records a revocation and takes out the connections of its session: both under the one lock of this shard.
    ///
    /// A revocation never shortens one that is in force. Returns whether the session was not blacklisted before.
    pub(crate) fn revoke(
        &mut self,
        name: SessionName,
        deadline: Deadline,
        now: Instant,
    ) -> (bool, Vec<Member>) {
        let members = match self.sessions.remove(&name) {
            None => Vec::new(),
            Some(Members::One(member)) => vec![member],
            Some(Members::Many(members)) => members,
        };
        let new = !self.is_blacklisted(&name, now);
        let known = self.blacklist.entry(name).or_insert(deadline);
        *known = known.zip(deadline).map(|(known, deadline)| known.max(deadline));
        (new, members)
    }

    pub(crate) fn is_blacklisted(&self, name: &SessionName, now: Instant) -> bool {
        self.blacklist.get(name).is_some_and(|deadline| deadline.is_none_or(|deadline| now < deadline))
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.blacklist.retain(|_, deadline| deadline.is_none_or(|deadline| now < deadline));
        shrink(&mut self.blacklist);
    }

    /// Sessions, connections, and blacklisted sessions.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let connections = self.sessions.values().map(|members| match members {
            Members::One(_) => 1,
            Members::Many(members) => members.len(),
        });
        (self.sessions.len(), connections.sum(), self.blacklist.len())
    }

    /// Room for entries, used or not.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.blacklist.capacity() + self.sessions.capacity()
    }
}

/// Gives memory back after a storm, and does nothing in between.
fn shrink<V>(map: &mut HashMap<SessionName, V>) {
    if map.capacity() > 64 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
