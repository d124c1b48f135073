//! Which leases there have to be for the shards of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::InitialPosition;
use super::lease::{Lease, Position, ShardId};

/// A shard as Kinesis lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    /// The shards that were split or merged into this one, also those that are deleted.
    pub(crate) parents: Vec<ShardId>,
    /// Nothing is written to it any more.
    pub(crate) is_closed: bool,
}

/// Returns the leases to create, parents first.
///
/// A shard that was split or merged from one with a lease is read from its beginning. Any other is
/// there since before the first worker of all, so it is read from the initial position, or not at
/// all if it was closed then and the initial position is behind it.
pub(crate) fn missing(shards: &[Shard], leases: &[&Lease], initial: InitialPosition) -> Vec<Lease> {
    let is_first = leases.is_empty();
    let mut known: BTreeSet<ShardId> = leases.iter().map(|lease| lease.shard.clone()).collect();
    let mut shards: Vec<_> = shards.iter().collect();
    // Kinesis numbers shards, so those that are split or merged come first.
    shards.sort_by(|one, other| one.id.cmp(&other.id));
    let mut missing = Vec::new();
    for shard in shards {
        if known.contains(&shard.id) {
            continue;
        }
        let position = match initial {
            _ if shard.parents.iter().any(|parent| known.contains(parent)) => Position::TrimHorizon,
            InitialPosition::TrimHorizon if is_first || !shard.is_closed => Position::TrimHorizon,
            InitialPosition::Latest if !shard.is_closed => Position::Latest,
            _ => continue,
        };
        known.insert(shard.id.clone());
        missing.push(Lease::new(&shard.id, position, shard.parents.clone()));
    }
    missing
}

/// Returns the leases of shards that Kinesis does not list: all of their records are deleted. The
/// `leases` must have been read before the `shards`, and so be the older.
pub(crate) fn unlisted<'l>(shards: &[Shard], leases: &[&'l Lease]) -> Vec<&'l Lease> {
    let listed: BTreeSet<_> = shards.iter().map(|shard| &shard.id).collect();
    leases.iter().copied().filter(|lease| !listed.contains(&lease.shard)).collect()
}

/// Returns the leases of a stream that was deleted and created anew under the same name, each with
/// the one that replaces it: those that are finished although the shard is open, and the children
/// of an open shard.
pub(crate) fn outdated<'l>(shards: &[Shard], leases: &[&'l Lease]) -> Vec<(&'l Lease, Lease)> {
    let listed: BTreeMap<_, _> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    let is_open = |id: &ShardId| listed.get(id).is_some_and(|shard| !shard.is_closed);
    let is_outdated = |lease: &Lease| {
        lease.position == Position::End && is_open(&lease.shard) || lease.parents.iter().any(is_open)
    };
    let outdated = leases.iter().copied().filter(|lease| is_outdated(lease));
    outdated
        .filter_map(|lease| {
            let shard = listed.get(&lease.shard)?;
            Some((lease, Lease::new(&shard.id, Position::TrimHorizon, shard.parents.clone())))
        })
        .collect()
}

/// The leases that did not match the shards that Kinesis listed, each with the time since when.
/// What Kinesis lists may be late, so they are left alone at first.
#[derive(Debug, Default)]
pub(crate) struct Mismatched(BTreeMap<ShardId, Instant>);

/// What is known of a lease that does not match.
pub(crate) trait Mismatch {
    /// Returns its shard.
    fn shard(&self) -> &ShardId;
}

impl Mismatched {
    /// Returns which of those that were found `now` were also found before, each time for at least
    /// this interval.
    pub(crate) fn lasting<M: Mismatch>(&mut self, found: Vec<M>, now: Instant, interval: Duration) -> Vec<M> {
        let before = std::mem::take(&mut self.0);
        let mut lasting = Vec::new();
        for mismatch in found {
            let since = before.get(mismatch.shard()).copied();
            self.0.insert(mismatch.shard().clone(), since.unwrap_or(now));
            if since.is_some_and(|since| since + interval <= now) {
                lasting.push(mismatch);
            }
        }
        lasting
    }
}

impl Mismatch for &Lease {
    fn shard(&self) -> &ShardId {
        &self.shard
    }
}

impl Mismatch for (&Lease, Lease) {
    fn shard(&self) -> &ShardId {
        &self.0.shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, parents: &[&str], is_closed: bool) -> Shard {
        Shard { id: id.into(), parents: parents.iter().map(|&parent| parent.into()).collect(), is_closed }
    }

    fn positions(shards: &[Shard], leases: &[Lease], initial: InitialPosition) -> Vec<(String, Position)> {
        let leases: Vec<_> = leases.iter().collect();
        let missing = missing(shards, &leases, initial);
        missing.into_iter().map(|lease| (lease.shard.to_string(), lease.position)).collect()
    }

    fn lease(id: &str) -> Lease {
        Lease::new(id, Position::End, Vec::new())
    }

    use InitialPosition::{Latest, TrimHorizon};

    #[test]
    fn the_first_worker_begins_with_open_shards() {
        let shards = [shard("2", &["0"], false), shard("0", &[], true), shard("1", &[], false)];
        let at = |id: &str, position| (id.to_owned(), position);
        assert_eq!(
            positions(&shards, &[], Latest),
            [at("1", Position::Latest), at("2", Position::Latest)],
            "the closed one is not read"
        );
        assert_eq!(
            positions(&shards, &[], TrimHorizon),
            ["0", "1", "2"].map(|id| at(id, Position::TrimHorizon))
        );
    }

    #[test]
    fn what_is_split_later_is_read_from_its_beginning() {
        let shards = [
            shard("0", &[], true),
            shard("1", &["0"], true), // split again while no gateway ran
            shard("2", &["0"], false),
            shard("3", &["1"], false),
            shard("4", &[], false),   // the first start was interrupted
            shard("5", &["9"], true), // closed before the first start
        ];
        let expected = |other: Position| {
            let at = |(id, position): (&str, Position)| (id.to_owned(), position);
            let split = ["1", "2", "3"].map(|id| (id, Position::TrimHorizon));
            split.into_iter().chain([("4", other)]).map(at).collect::<Vec<_>>()
        };
        assert_eq!(positions(&shards, &[lease("0")], Latest), expected(Position::Latest));
        assert_eq!(positions(&shards, &[lease("0")], TrimHorizon), expected(Position::TrimHorizon));
        assert_eq!(positions(&shards[..1], &[lease("0")], Latest), []);
    }

    #[test]
    fn a_lease_is_deleted_when_its_shard_is_missing_for_some_time() {
        let (gone, there) = (lease("0"), lease("1"));
        let (with, without) = ([shard("0", &[], true), shard("1", &[], true)], [shard("1", &[], true)]);
        let mut mismatched = Mismatched::default();
        let (leases, now, second) = ([&gone, &there], Instant::now(), Duration::from_secs(1));
        let listings =
            [(0, &without[..], 0), (60, &with, 0), (61, &without, 0), (62, &without, 0), (121, &without, 1)];
        for (at, listed, count) in listings {
            let found = unlisted(listed, &leases);
            let lasting = mismatched.lasting(found, now + at * second, 60 * second);
            assert_eq!(lasting.len(), count, "after {at} s");
        }
    }

    #[test]
    fn leases_of_a_stream_that_was_created_anew_are_replaced() {
        let child = |id: &str, position, parent: &str| Lease::new(id, position, vec![parent.into()]);
        let leases = [
            lease("0"),
            child("1", Position::Latest, "0"),
            child("2", Position::End, "0"),
            child("9", Position::Latest, "0"),
            Lease::new("3", Position::TrimHorizon, Vec::new()),
        ];
        let leases: Vec<_> = leases.iter().collect();
        let replaced = |shards: &[Shard]| {
            let outdated = outdated(shards, &leases).into_iter();
            outdated
                .map(|(_, new)| (new.shard.to_string(), new.position, new.parents.len()))
                .collect::<Vec<_>>()
        };
        let new = ["0", "1", "2", "3"].map(|id| shard(id, &[], false));
        let expected = ["0", "1", "2"].map(|id| (id.to_owned(), Position::TrimHorizon, 0));
        assert_eq!(replaced(&new), expected);
        let same = [shard("0", &[], true), shard("1", &["0"], false), shard("2", &["0"], true)];
        assert_eq!(replaced(&same), [], "what was split is left alone");
    }
}
