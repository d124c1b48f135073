//! How many connections, how large a head, how long a wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::accept::Observer;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request target; more is 414.
    pub request_line: usize,
    /// Bytes of all header names and values; more is 431.
    pub headers: usize,
    /// For a head that has begun; longer is 408.
    pub head_timeout: Duration,
    /// Between two requests, and for a client that reads nothing of its answer; longer closes the connection.
    pub keep_alive: Duration,
    /// Connections in total; more are answered 503.
    pub connections: usize,
    /// Connections of one client address, 0 for no limit; more are answered 429.
    pub connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 << 10,
            headers: 16 << 10,
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            connections: 100_000,
            connections_per_address: 0,
        }
    }
}

/// Why there was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
}

/// Counts the connections of a listener.
pub(crate) struct Places {
    limits: Limits,
    observer: Arc<dyn Observer>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when dropped.
pub struct Permit {
    places: Arc<Places>,
    /// Where connections of one address are limited. Boxed: elsewhere every connection would pay for it.
    address: Option<Box<IpAddr>>,
}

impl Places {
    pub(crate) fn new(limits: Limits, observer: Arc<dyn Observer>) -> Arc<Self> {
        Arc::new(Self { limits, observer, taken: Mutex::default() })
    }

    /// A place for a connection; of a client address where that is known already.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Full> {
        let mut taken = self.taken.lock();
        if taken.total >= self.limits.connections {
            return Err(Full::Total);
        }
        let most = self.limits.connections_per_address;
        let address = address.filter(|_| most > 0);
        if let Some(address) = address {
            taken.count(address, most)?;
        }
        taken.total += 1;
        self.observer.opened();
        Ok(Permit { places: self.clone(), address: address.map(Box::new) })
    }
}

impl Taken {
    fn count(&mut self, address: IpAddr, most: usize) -> Result<(), Full> {
        let of_address = self.by_address.entry(address).or_default();
        if *of_address >= most {
            return Err(Full::Address);
        }
        *of_address += 1;
        Ok(())
    }
}

impl Permit {
    /// The connection turns out to be one of this client address.
    pub(crate) fn belongs_to(&mut self, address: IpAddr) -> Result<(), Full> {
        let most = self.places.limits.connections_per_address;
        if most > 0 && self.address.is_none() {
            self.places.taken.lock().count(address, most)?;
            self.address = Some(Box::new(address));
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.total -= 1;
        self.places.observer.closed();
        if let Some(address) = self.address.as_deref()
            && let Some(of_address) = taken.by_address.get_mut(address)
        {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[derive(Default)]
    struct Open(AtomicUsize);

    impl Observer for Open {
        fn opened(&self) {
            self.0.fetch_add(1, Relaxed);
        }

        fn closed(&self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let limits = Limits { connections: 2, connections_per_address: 1, ..Limits::default() };
        let open = Arc::new(Open::default());
        let places = Places::new(limits, open.clone());
        let one = places.take(Some([127, 0, 0, 1].into())).ok();
        assert_eq!(places.take(Some([127, 0, 0, 1].into())).err(), Some(Full::Address));
        let _two = places.take(Some([127, 0, 0, 2].into())).ok();
        assert_eq!(places.take(Some([127, 0, 0, 3].into())).err(), Some(Full::Total));
        drop(one);
        assert_eq!(open.0.load(Relaxed), 1);
        let mut unknown = Places::new(limits, Arc::new(())).take(None).unwrap();
        assert_eq!(unknown.belongs_to([127, 0, 0, 1].into()), Ok(()));
        let _again = places.take(Some([127, 0, 0, 1].into())).ok();
        assert_eq!(open.0.load(Relaxed), 2);
    }
}
