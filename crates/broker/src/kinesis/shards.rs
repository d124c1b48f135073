//! Which leases there have to be for the shards of a stream.

use std::collections::BTreeSet;

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

/// The leases of shards that Kinesis did not list the last time.
#[derive(Debug, Default)]
pub(crate) struct Unlisted(BTreeSet<ShardId>);

impl Unlisted {
    /// Returns the leases of shards that Kinesis has not listed twice in a row: all of their
    /// records are deleted. The `leases` must have been read before the `shards`, and so be the
    /// older.
    pub(crate) fn expired<'l>(&mut self, shards: &[Shard], leases: &[&'l Lease]) -> Vec<&'l Lease> {
        let listed: BTreeSet<_> = shards.iter().map(|shard| &shard.id).collect();
        let unlisted = leases.iter().copied().filter(|lease| !listed.contains(&lease.shard));
        let (again, first): (Vec<_>, Vec<_>) = unlisted.partition(|lease| self.0.contains(&lease.shard));
        self.0 = again.iter().chain(&first).map(|lease| lease.shard.clone()).collect();
        again
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
    fn a_lease_is_deleted_when_its_shard_is_missing_twice_in_a_row() {
        let (gone, there) = (lease("0"), lease("1"));
        let (with, without) = ([shard("0", &[], false), shard("1", &[], false)], [shard("1", &[], false)]);
        let mut unlisted = Unlisted::default();
        let leases = [&gone, &there];
        for (listed, count) in [(&without[..], 0), (&with, 0), (&without, 0), (&without, 1), (&without, 1)] {
            assert_eq!(unlisted.expired(listed, &leases).len(), count);
        }
    }
}
