//! The limits of a listener, and the connections that count towards them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use descriptors::Descriptor;
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::occupants::{Eviction, Occupant, Occupants};

/// The limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limit of a request target in bytes; 414 beyond it.
    pub request_line: usize,
    /// Limit of all header names and values in bytes; 431 beyond it.
    pub headers: usize,
    /// Limit of header fields; 431 beyond it.
    pub header_fields: usize,
    /// Time limit for the rest of a head that has begun; 408 beyond it.
    pub head_timeout: Duration,
    /// Time limit between two requests, and for a client that does not read its answer; the
    /// connection is closed beyond it.
    pub keep_alive: Duration,
    /// Limit of connections in total; 503 beyond it.
    pub connections: usize,
    /// `true` if `connections` is lower than configured, because the process may not open enough
    /// files.
    pub lowered: bool,
    /// Limit of refused connections that are still read from for a moment, so that their clients
    /// receive the reason.
    pub refusals: usize,
    /// Limit of connections from one client address, 0 for none; 429 beyond it.
    pub connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 << 10,
            headers: 64 << 10,
            header_fields: 100,
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connections: 100_000,
            lowered: false,
            refusals: 32,
            connections_per_address: 0,
        }
    }
}

/// What a port does when all of its places are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses newcomers.
    #[default]
    Refuse,
    /// Evicts the least useful connection; refuses newcomers only if every connection has a request
    /// in progress.
    Evict,
}

/// Why a connection cannot get a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Total,
    Address,
    Descriptors,
    /// There may be a place after this time.
    Later(Duration),
}

/// The connections of one listener, or of several that share a limit.
pub struct Places {
    limits: Limits,
    when_full: WhenFull,
    metrics: Arc<Metrics>,
    taken: Mutex<Taken>,
    occupants: Occupants,
    /// The number of refused sockets that are still read from.
    refusing: AtomicUsize,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one connection; freed when dropped.
pub struct Permit {
    places: Arc<Places>,
    /// Boxed, so that connections without it pay only a pointer.
    extra: Option<Box<Extra>>,
}

/// Data about a connection that only some ports need.
#[derive(Default)]
struct Extra {
    /// `Some` if connections per address are limited.
    address: Option<IpAddr>,
    /// `Some` if connections can be evicted.
    occupant: Option<Arc<Occupant>>,
}

/// A refused socket that is still read from, so that its client receives the refusal.
pub(crate) struct Refused(Arc<Places>);

impl Places {
    /// Creates places within `limits`. The sockets of ports that refuse newcomers count among the
    /// descriptors of clients ([`descriptors`]); those of ports that evict have their own reserve.
    pub fn new(limits: Limits, when_full: WhenFull, metrics: Arc<Metrics>) -> Arc<Self> {
        let (taken, occupants, refusing) = Default::default();
        Arc::new(Self { limits, when_full, metrics, taken, occupants, refusing })
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes a place for a connection, with its client's address if that is known already.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, NoPlace> {
        let mut taken = self.taken.lock();
        if taken.total >= self.limits.connections {
            self.make_room()?;
        }
        let evicts = self.when_full == WhenFull::Evict;
        let descriptor = match evicts {
            true => None,
            false => Some(Descriptor::take().ok_or(NoPlace::Descriptors)?),
        };
        let most = self.limits.connections_per_address;
        let address = address.filter(|_| most > 0);
        if let Some(address) = address {
            taken.count(address, most)?;
        }
        taken.total += 1;
        self.metrics.tcp_connections.inc();
        let occupant = evicts.then(|| self.occupants.enter());
        let extra = (address.is_some() || evicts).then(|| Box::new(Extra { address, occupant }));
        // Dropping the permit frees the descriptor. A field for it would cost memory in every
        // connection.
        std::mem::forget(descriptor);
        Ok(Permit { places: self.clone(), extra })
    }

    /// Makes room for one more connection, if the port evicts.
    pub(crate) fn make_room(&self) -> Result<(), NoPlace> {
        match self.when_full {
            WhenFull::Refuse if self.limits.lowered => Err(NoPlace::Descriptors),
            WhenFull::Refuse => Err(NoPlace::Total),
            WhenFull::Evict => match self.occupants.evict() {
                Eviction::Made => Ok(()),
                Eviction::Later(wait) => Err(NoPlace::Later(wait)),
                Eviction::None => Err(NoPlace::Total),
            },
        }
    }

    /// Takes a place for reading from a refused socket; `None` if too many are being read.
    pub(crate) fn refused(self: &Arc<Self>) -> Option<Refused> {
        let limit = self.limits.refusals;
        let taken = self.refusing.fetch_update(Relaxed, Relaxed, |taken| (taken < limit).then(|| taken + 1));
        taken.is_ok().then(|| Refused(self.clone()))
    }
}

impl Taken {
    fn count(&mut self, address: IpAddr, most: usize) -> Result<(), NoPlace> {
        let of_address = self.by_address.entry(address).or_default();
        if *of_address >= most {
            return Err(NoPlace::Address);
        }
        *of_address += 1;
        Ok(())
    }
}

impl Permit {
    /// Counts the connection towards the limit of a client address that became known only now.
    pub(crate) fn belongs_to(&mut self, address: IpAddr) -> Result<(), NoPlace> {
        let limit = self.places.limits.connections_per_address;
        if limit > 0 && self.extra.as_ref().is_none_or(|extra| extra.address.is_none()) {
            self.places.taken.lock().count(address, limit)?;
            self.extra.get_or_insert_default().address = Some(address);
        }
        Ok(())
    }

    /// Returns the places that this one belongs to.
    pub(crate) fn places(&self) -> Arc<Places> {
        self.places.clone()
    }

    /// Returns the connection, if it can be evicted.
    pub(crate) fn occupant(&self) -> Option<Arc<Occupant>> {
        self.extra.as_ref()?.occupant.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(occupant) = self.extra.as_ref().and_then(|extra| extra.occupant.as_ref()) {
            self.places.occupants.leave(occupant);
        }
        if self.places.when_full == WhenFull::Refuse {
            Descriptor::give_back();
        }
        let mut taken = self.places.taken.lock();
        taken.total -= 1;
        self.places.metrics.tcp_connections.dec();
        if let Some(address) = self.extra.as_ref().and_then(|extra| extra.address)
            && let Some(of_address) = taken.by_address.get_mut(&address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&address);
            }
        }
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        self.0.refusing.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let limits = Limits { connections: 2, connections_per_address: 1, ..Limits::default() };
        let metrics = Arc::new(Metrics::default());
        let places = Places::new(limits, WhenFull::Refuse, metrics.clone());
        let one = places.take(Some([127, 0, 0, 1].into())).ok();
        assert_eq!(places.take(Some([127, 0, 0, 1].into())).err(), Some(NoPlace::Address));
        let _two = places.take(Some([127, 0, 0, 2].into())).ok();
        assert_eq!(places.take(Some([127, 0, 0, 3].into())).err(), Some(NoPlace::Total));
        drop(one);
        assert_eq!(metrics.tcp_connections.get(), 1);
        let mut unknown = Places::new(limits, WhenFull::Refuse, Arc::default()).take(None).unwrap();
        assert_eq!(unknown.belongs_to([127, 0, 0, 1].into()), Ok(()));
        let _again = places.take(Some([127, 0, 0, 1].into())).ok();
        assert_eq!(metrics.tcp_connections.get(), 2);
    }
}
