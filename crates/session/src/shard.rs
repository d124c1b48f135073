//! A part of the registry, behind one lock: which tokens are barred, and which connections are
//! registered under each key.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Weak};

use crate::age::Moment;
use crate::barred::Barred;
use crate::clock::Tick;
use crate::connection::{Blacklisted, Connection};
use crate::members::{Id, Member, Members, Tokens};
use crate::revocation::Seq;
use crate::selector::{Fingerprint, IdentityHasher, Key};

type Registry = HashMap<Fingerprint, Members, BuildHasherDefault<IdentityHasher>>;

#[derive(Default)]
pub(crate) struct Shard {
    barred: Barred,
    sessions: Registry,
    claims: Registry,
    /// The number of members of all sessions.
    connections: usize,
    /// When to check which registration: shortly before its token expires, and when it does.
    due: BTreeMap<(Tick, Id), Key>,
    /// The numbers that were lifted or replaced last, so that none of them is applied afterwards.
    lifted: VecDeque<Seq>,
    /// Connections that a revocation has taken out and is still notifying.
    ending: Vec<(Fingerprint, Arc<Members>)>,
}

/// What a revocation does to a shard.
pub(crate) struct Order {
    /// The entry that it adds, if it adds one.
    pub(crate) bar: Option<Bar>,
    /// An entry that the new one replaces.
    pub(crate) replaces: Option<Seq>,
    /// Selects the connections that it takes out.
    pub(crate) tokens: Tokens,
}

/// An entry of the blacklist.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) seq: Seq,
    pub(crate) until: Tick,
    pub(crate) issued_up_to: u32,
}

/// What [`Shard::revoke`] has done.
pub(crate) struct Revoked {
    /// `true` if the tokens that the revocation selects were not all illegal before, and are now.
    pub(crate) new: bool,
    /// The connections that it has taken out. They stay in [`Shard::ending`] until
    /// [`Shard::notified`].
    pub(crate) taken: Option<Arc<Members>>,
    /// Connections that other revocations have taken out and may not have notified yet.
    pub(crate) ending: Vec<Arc<Members>>,
}

/// Registrations that [`Shard::due`] has found.
#[derive(Default)]
pub(crate) struct Due {
    /// The keys of those whose tokens have expired.
    pub(crate) expired: Vec<Key>,
    /// Those whose tokens expire soon, and when.
    pub(crate) soon: Vec<(Weak<dyn Connection>, Tick)>,
}

impl Shard {
    /// Registers a connection, unless a token of this age is barred. Both happen under the one lock
    /// of this shard.
    pub(crate) fn register(
        &mut self,
        key: Key,
        id: Id,
        member: Member,
        age: u32,
        now: Tick,
    ) -> Result<(), Blacklisted> {
        if self.bars(key, age, now) {
            return Err(Blacklisted);
        }
        match self.registry(key).entry(key.fingerprint()) {
            Entry::Vacant(session) => drop(session.insert(Members::One(id, member))),
            Entry::Occupied(mut session) => session.get_mut().insert(id, member),
        }
        self.connections += weight(key);
        Ok(())
    }

    /// Removes the registration of this id; a session without connections is removed (d11).
    ///
    /// With `warning`, it is the registration under which the connection is due at the expiry of
    /// its token. Does nothing if a revocation has taken the connection out.
    pub(crate) fn unregister(&mut self, key: Key, id: Id, warning: Option<u32>) {
        if let Some(warning) = warning {
            self.forget_due(key, id, warning);
        }
        let registry = self.registry(key);
        let Some(members) = registry.get_mut(&key.fingerprint()) else { return };
        if members.is_only(id) {
            registry.remove(&key.fingerprint());
            shrink(registry);
            self.connections -= weight(key);
        } else if members.remove(id) {
            self.connections -= weight(key);
        }
    }

    /// Schedules the warning of a registration, `warning` ticks before its token expires.
    pub(crate) fn watch(&mut self, key: Key, id: Id, warning: u32) {
        let Some(member) = self.member(key, id) else {
            return;
        };
        let at = warned_at(member.expires, warning);
        if at != Tick::NEVER {
            self.due.insert((at, id), key);
        }
    }

    /// Extends a registration. Returns `false` if it is not there any more, since a revocation has
    /// taken it out.
    pub(crate) fn renew(&mut self, key: Key, id: Id, expires: Tick, warning: Option<u32>) -> bool {
        if let Some(warning) = warning {
            self.forget_due(key, id, warning);
        }
        let member = self.member(key, id);
        let Some(member) = member else { return false };
        member.expires = member.expires.max(expires);
        if let Some(warning) = warning {
            self.watch(key, id, warning);
        }
        true
    }

    /// Unschedules a registration, which is due either at its warning or at its expiry.
    fn forget_due(&mut self, key: Key, id: Id, warning: u32) {
        let member = self.member(key, id);
        let Some(expires) = member.map(|member| member.expires) else { return };
        if self.due.remove(&(warned_at(expires, warning), id)).is_none() {
            self.due.remove(&(expires, id));
        }
    }

    /// Removes and returns what is due. Registrations that are warned become due again at their
    /// expiry.
    pub(crate) fn due(&mut self, now: Tick) -> Due {
        let mut due = Due::default();
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let ((_, id), key) = first.remove_entry();
            let member = self.member(key, id);
            let Some(member) = member else { continue };
            let expires = member.expires;
            if expires <= now {
                due.expired.push(key);
            } else {
                due.soon.push((member.connection.clone(), expires));
                self.due.insert((expires, id), key);
            }
        }
        due
    }

    /// Adds the entry of a revocation and takes out the connections that it selects. Both happen
    /// under the one lock of this shard.
    ///
    /// A revocation never shortens one that is in force. A revocation that has expired already gets
    /// no entry.
    pub(crate) fn revoke(&mut self, key: Key, order: &Order, now: Tick) -> Revoked {
        let fingerprint = key.fingerprint();
        let ending = self.ending.iter().filter(|(ending, _)| *ending == fingerprint);
        let ending = ending.map(|(_, members)| members.clone()).collect();
        let bar = order.bar.filter(|bar| now < bar.until || bar.until == Tick::NEVER);
        let bar = bar.filter(|bar| !self.lifted.contains(&bar.seq));
        let new = bar.is_some_and(|bar| !self.barred.bars(fingerprint, bar.issued_up_to, now));
        if let Some(bar) = bar {
            self.barred.insert(fingerprint, bar.seq, bar.until, bar.issued_up_to);
        }
        if let Some(seq) = order.replaces {
            self.lift(key, seq);
        }
        let taken = self.take(key, order.tokens).map(Arc::new);
        self.ending.extend(taken.iter().map(|members| (fingerprint, members.clone())));
        Revoked { new, taken, ending }
    }

    fn take(&mut self, key: Key, tokens: Tokens) -> Option<Members> {
        let registry = self.registry(key);
        let (taken, left) = registry.remove(&key.fingerprint())?.split(tokens);
        match left {
            Some(left) => drop(registry.insert(key.fingerprint(), left)),
            None => shrink(registry),
        }
        self.connections -= taken.as_ref().map_or(0, Members::len) * weight(key);
        taken
    }

    /// Records that the connections that a revocation took out have all been notified.
    pub(crate) fn notified(&mut self, taken: &Arc<Members>) {
        self.ending.retain(|(_, ending)| !Arc::ptr_eq(ending, taken));
        self.ending.shrink_to(8);
    }

    /// Removes the entry of a revocation. If it has not been added yet, it never will be.
    pub(crate) fn lift(&mut self, key: Key, seq: Seq) {
        self.barred.remove(key.fingerprint(), seq);
        if self.lifted.len() >= LIFTED {
            self.lifted.pop_front();
        }
        self.lifted.push_back(seq);
    }

    /// Returns `true` if a token of this age is barred.
    pub(crate) fn bars(&self, key: Key, age: u32, now: Tick) -> bool {
        self.barred.bars(key.fingerprint(), age, now)
    }

    /// Returns the greatest `iat` of the connections whose issuer's clock is ahead, 0 if there
    /// are none.
    pub(crate) fn youngest_skewed(&mut self, key: Key, moment: Moment) -> u32 {
        let members = self.registry(key).get(&key.fingerprint());
        let issued = members.into_iter().flat_map(Members::iter).map(|member| member.issued_at);
        issued.filter(|issued_at| moment.is_skewed(*issued_at)).max().unwrap_or_default()
    }

    /// Returns the number of live revocations of one selector.
    pub(crate) fn revocations(&self, key: Key, now: Tick) -> usize {
        self.barred.count(key.fingerprint(), now)
    }

    /// Returns how many connections a revocation would take out, and when the last of their tokens
    /// expires.
    pub(crate) fn affected(&mut self, key: Key, tokens: Tokens) -> (usize, Option<Tick>) {
        let members = self.registry(key).get(&key.fingerprint());
        let meant = members.into_iter().flat_map(Members::iter).filter(|member| tokens.include(member));
        meant.fold((0, None), |(n, last), member| {
            // A token that never expires, or expires beyond the range of ticks, requires no
            // validity.
            (n + 1, last.max(Some(member.expires).filter(|expires| *expires != Tick::NEVER)))
        })
    }

    /// Removes expired entries.
    pub(crate) fn sweep(&mut self, now: Tick) {
        self.barred.sweep(now);
    }

    /// Returns the number of sessions with connections.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Returns the number of registrations in sessions.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the number of entries of the blacklist, including those that have expired since the
    /// last sweep.
    pub(crate) fn blacklisted(&self) -> usize {
        self.barred.len()
    }

    fn member(&mut self, key: Key, id: Id) -> Option<&mut Member> {
        self.registry(key).get_mut(&key.fingerprint())?.find(id)
    }

    fn registry(&mut self, key: Key) -> &mut Registry {
        if key.is_session() { &mut self.sessions } else { &mut self.claims }
    }

    /// Returns the capacity for entries.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn capacity(&self) -> usize {
        self.barred.capacity()
            + self.sessions.capacity()
            + self.claims.capacity()
            + self.due.len()
            + self.ending.capacity()
    }
}

/// How many lifted numbers are remembered. A revocation is applied right after it is stored, or
/// never, so older numbers are not needed.
const LIFTED: usize = 64;

/// Returns what a member adds to the number of connections. It counts once, in its session.
fn weight(key: Key) -> usize {
    usize::from(key.is_session())
}

/// Returns when the connection of a token that expires then is warned.
fn warned_at(expires: Tick, warning: u32) -> Tick {
    if expires == Tick::NEVER { expires } else { Tick(expires.0.saturating_sub(warning)) }
}

/// Frees memory after a burst. The capacity that it leaves is far from both the next growth and the
/// next shrinking, so a steady number of connections that come and go causes neither.
fn shrink(registry: &mut Registry) {
    if registry.capacity() > 64 && registry.len() < registry.capacity() / 8 {
        registry.shrink_to(registry.len() * 2);
    }
}
