//! Workers that share a table in any order of their steps: no two read a shard at the same time,
//! except while one has just been relieved, and each shard is read in the end.

use super::*;
use crate::kinesis::lease::{Leases, apply};

const DURATION: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(3);

/// A small generator (SplitMix64), so that a failure is repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// A worker, and the requests that it is about to send.
struct Worker {
    name: Arc<str>,
    roster: Roster,
    requests: Vec<(Request, Instant)>,
    /// When it reads the table again.
    next: Instant,
    is_dead: bool,
}

enum Request {
    Renew(ShardId, Change),
    Take(Lease),
}

struct World {
    now: Instant,
    table: Leases,
    workers: Vec<Worker>,
    random: Random,
    /// Who was relieved of which lease that was valid, and has to notice it at its next renewal.
    relieved: BTreeSet<(ShardId, Arc<str>)>,
    finished: Vec<ShardId>,
    /// Nothing takes long, and no answer is lost.
    is_calm: bool,
}

fn lease(id: &str, parents: &[&str]) -> Lease {
    Lease::new(id, Position::TrimHorizon, parents.iter().map(|&parent| parent.into()).collect())
}

impl World {
    fn new(seed: u64, leases: Vec<Lease>, workers: usize) -> Self {
        let now = Instant::now();
        let worker = |number| {
            let name: Arc<str> = format!("w{number}").into();
            let roster = Roster::new(name.clone(), DURATION);
            Worker { name, roster, requests: Vec::new(), next: now, is_dead: false }
        };
        Self {
            now,
            table: leases.into_iter().map(|lease| (lease.shard.clone(), lease)).collect(),
            workers: (0..workers).map(worker).collect(),
            random: Random(seed),
            relieved: BTreeSet::new(),
            finished: Vec::new(),
            is_calm: false,
        }
    }

    /// Lets one worker do one thing: read the table, or send a request. It may take time.
    fn step(&mut self) {
        let number = self.random.below(self.workers.len());
        let slow = !self.is_calm && self.random.below(100) == 0;
        self.now += Duration::from_millis(self.random.below(if slow { 12_000 } else { 300 }) as u64);
        let (workers, now) = (&self.workers, self.now);
        // The validity has passed, even if it has noticed nothing.
        self.relieved.retain(|(shard, name)| {
            workers.iter().any(|worker| worker.name == *name && worker.roster.holds(shard, now))
        });
        let worker = &mut self.workers[number];
        if worker.is_dead {
            return;
        }
        if let Some((request, began)) = worker.requests.pop() {
            // The answer is lost now and then.
            let is_answered = self.is_calm || self.random.below(20) > 0;
            match request {
                Request::Renew(shard, change) => {
                    let applied = apply(&mut self.table, &worker.name, &shard, &change);
                    if is_answered {
                        worker.roster.renewed(&shard, began, applied);
                        self.relieved.remove(&(shard, worker.name.clone()));
                    }
                }
                Request::Take(lease) => {
                    let from = lease.owner.clone();
                    let shard = lease.shard.clone();
                    let taken = lease.taken_by(&worker.name, 0);
                    let take = Change::Take { lease, now: 0 };
                    if apply(&mut self.table, &worker.name, &shard, &take) {
                        if is_answered {
                            worker.roster.taken(&taken, began);
                        }
                        self.note_taken(number, from, &shard);
                    }
                }
            }
        } else if worker.next <= self.now {
            worker.next = self.now + RENEWAL;
            // It gives up what it was relieved of, and what has expired.
            let lost = worker.roster.observe(self.table.values().cloned().collect(), self.now);
            self.relieved.retain(|(shard, name)| *name != worker.name || !lost.contains(shard));
            let renewals = worker.roster.renewals();
            let random = &mut self.random;
            let wanted = worker.roster.wanted(self.now, &BTreeSet::new(), |count| random.below(count));
            let renewals = renewals.into_iter().map(|(shard, change)| Request::Renew(shard, change));
            let requests = renewals.chain(wanted.into_iter().map(Request::Take));
            worker.requests.extend(requests.map(|request| (request, self.now)));
        }
        self.check();
    }

    /// Notes who still reads a shard although another has taken it.
    fn note_taken(&mut self, by: usize, from: Option<Arc<str>>, shard: &ShardId) {
        let Some(from) = from else { return };
        let still = |worker: &Worker| worker.name == from && worker.roster.holds(shard, self.now);
        if from != self.workers[by].name && self.workers.iter().any(still) {
            self.relieved.insert((shard.clone(), from));
        }
    }

    fn check(&self) {
        for (shard, lease) in &self.table {
            let readers = self.workers.iter().filter(|worker| worker.roster.holds(shard, self.now));
            let readers: Vec<_> = readers.map(|worker| &worker.name).collect();
            let is_relieved = |name: &Arc<str>| self.relieved.contains(&(shard.clone(), name.clone()));
            let unrelieved = readers.iter().filter(|name| !is_relieved(name)).count();
            assert!(unrelieved <= 1, "{shard} is read by {readers:?}");
            let is_unfinished = |parent: &ShardId| !self.finished.contains(parent);
            let parents = lease.parents.iter().filter(|parent| self.table.contains_key(*parent));
            if parents.clone().any(is_unfinished) {
                assert_eq!(readers.len(), 0, "{shard} is read before its parents are finished");
            }
        }
    }

    /// Has the reader of a shard finish it.
    fn finish(&mut self, shard: &str) {
        let number = (0..self.workers.len()).find(|number| self.reads(*number, shard));
        let reader = &mut self.workers[number.expect("it is read")];
        let shard: ShardId = shard.into();
        assert!(apply(&mut self.table, &reader.name, &shard, &Change::Store(Position::End)));
        reader.roster.dropped(&shard);
        self.finished.push(shard);
    }

    /// Returns whether a worker reads a shard, and has not been relieved of it.
    fn reads(&self, number: usize, shard: &str) -> bool {
        let worker = &self.workers[number];
        worker.roster.holds(shard, self.now) && self.table[shard].owner.as_ref() == Some(&worker.name)
    }

    fn count(&self, number: usize) -> usize {
        let worker = &self.workers[number];
        self.table.keys().filter(|shard| worker.roster.holds(shard, self.now)).count()
    }

    fn run_until(&mut self, what: &str, is_reached: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if is_reached(self) {
                return;
            }
            self.step();
        }
        panic!("{what}: {:?}", self.table);
    }

    /// Returns whether the living workers read all of these shards, and no shard more than one.
    fn is_shared_out(&self, shards: usize) -> bool {
        let living = || (0..self.workers.len()).filter(|number| !self.workers[*number].is_dead);
        let counts: Vec<_> = living().map(|number| self.count(number)).collect();
        let most = shards.div_ceil(counts.len());
        self.relieved.is_empty()
            && counts.iter().sum::<usize>() == shards
            && counts.iter().all(|count| *count <= most)
    }
}

#[test]
fn each_shard_has_one_reader_and_all_have_in_any_order() {
    for seed in 0..300 {
        let workers = 2 + (seed % 2) as usize;
        let leases = (0..7).map(|number| lease(&number.to_string(), &[])).collect();
        let mut world = World::new(seed, leases, workers);
        world.run_until(&format!("{seed}: all are read"), |world| world.is_shared_out(7));
        let dead = world.random.below(workers);
        world.workers[dead].is_dead = true;
        world.workers[dead].requests.clear();
        world.run_until(&format!("{seed}: its shards are taken over"), |world| world.is_shared_out(7));
        // As the same worker, that has paused: it still believes nothing.
        world.workers[dead].is_dead = false;
        world.is_calm = true;
        world.run_until(&format!("{seed}: it gets its share again"), |world| world.is_shared_out(7));
        let owners =
            |world: &World| world.table.values().map(|lease| lease.owner.clone()).collect::<Vec<_>>();
        // Until the shares are as equal as they can be.
        (0..500).for_each(|_| world.step());
        let before = owners(&world);
        (0..500).for_each(|_| world.step());
        assert_eq!(owners(&world), before, "{seed}: each keeps its leases");
    }
}

#[test]
fn children_are_read_after_all_of_their_parents() {
    for seed in 0..300 {
        let leases = vec![
            lease("0", &[]),
            lease("1", &["gone"]),
            lease("2", &["0", "1"]), // merged
            lease("3", &["2"]),
            lease("4", &["2"]), // split
        ];
        let mut world = World::new(seed, leases, 3);
        for shard in ["0", "1", "2", "3", "4"] {
            world.run_until(&format!("{seed}: {shard} is read"), |world| {
                (0..3).any(|number| world.reads(number, shard))
            });
            world.finish(shard);
        }
        for _ in 0..200 {
            world.step();
        }
        assert!((0..3).all(|number| world.count(number) == 0), "what is finished is left alone");
    }
}

#[test]
fn one_of_the_busiest_is_taken_until_all_have_the_same() {
    let now = Instant::now();
    let mut leases: Leases = ["0", "1", "2", "3", "4"].map(|id| (id.into(), lease(id, &[]))).into();
    let (old, new): (Arc<str>, Arc<str>) = ("old".into(), "new".into());
    let take = |leases: &mut Leases, worker: &Arc<str>, lease: &Lease| {
        let take = Change::Take { lease: lease.clone(), now: 0 };
        assert!(apply(leases, worker, &lease.shard, &take));
    };
    for id in ["0", "1", "2", "3", "4"] {
        take(&mut leases, &old, &lease(id, &[]));
    }
    let mut roster = Roster::new(new.clone(), DURATION);
    for count in [1, 1, 0] {
        roster.observe(leases.values().cloned().collect(), now);
        let wanted = roster.wanted(now, &BTreeSet::new(), |_| 0);
        assert_eq!(wanted.len(), count);
        for lease in wanted {
            take(&mut leases, &new, &lease);
            roster.taken(&lease.taken_by(&new, 0), now);
        }
    }
    assert!(
        roster.holds("0", now + DURATION - Duration::from_millis(1)) && !roster.holds("0", now + DURATION)
    );
}

#[test]
fn a_lease_expires_when_its_counter_does_not_change() {
    let now = Instant::now();
    let owned = lease("0", &[]).taken_by(&"old".into(), 0);
    let mut roster = Roster::new("new".into(), DURATION);
    let mut wanted = |lease: &Lease, after: Duration| {
        roster.observe(vec![lease.clone()], now + after);
        roster.wanted(now + after, &BTreeSet::new(), |_| 0).len()
    };
    let second = Duration::from_secs(1);
    assert_eq!([wanted(&owned, Duration::ZERO), wanted(&owned, 9 * second)], [0, 0]);
    let renewed = Lease { counter: owned.counter + 1, ..owned };
    assert_eq!([wanted(&renewed, 10 * second), wanted(&renewed, 19 * second)], [0, 0]);
    assert_eq!(wanted(&renewed, 20 * second), 1);
    let busy = BTreeSet::from(["0".into()]);
    assert!(roster.wanted(now + 20 * second, &busy, |_| 0).is_empty(), "its reader has not stopped yet");
}

/// The counter of [`Change::Delete`] is that of the lease as it was read.
#[test]
fn a_lease_can_be_deleted_after_it_is_renewed() {
    let (now, worker): (_, Arc<str>) = (Instant::now(), "w".into());
    let mut table = Leases::from([("0".into(), lease("0", &[]))]);
    let mut roster = Roster::new(worker.clone(), DURATION);
    let mut send = |change: &Change| apply(&mut table, &worker, &"0".into(), change);
    roster.observe(vec![lease("0", &[])], now);
    assert!(send(&Change::Take { lease: lease("0", &[]), now: 0 }));
    let taken = lease("0", &[]).taken_by(&worker, 0);
    roster.taken(&taken, now);
    roster.observe(vec![taken], now);
    let (shard, renew) = roster.renewals().remove(0);
    assert!(send(&renew));
    assert!(roster.renewed(&shard, now, true).is_some());
    let counter = roster.leases().next().expect("it is seen").counter;
    assert!(send(&Change::Delete { counter }), "the counter is {counter}");
}
