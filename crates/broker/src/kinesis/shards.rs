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
/// all if it was closed then and the initial position is behind it. The leases in `lost` were
/// deleted while this worker had them.
pub(crate) fn missing(
    shards: &[Shard],
    leases: &[&Lease],
    lost: &BTreeMap<ShardId, Lease>,
    initial: InitialPosition,
) -> Vec<Lease> {
    let is_first = leases.is_empty();
    let mut known: BTreeSet<ShardId> = leases.iter().map(|lease| lease.shard.clone()).collect();
    let mut shards: Vec<_> = shards.iter().collect();
    // Kinesis numbers shards, so those that are split or merged come first.
    shards.sort_by(|one, other| one.id.cmp(&other.id));
    let descendants = descendants(&shards, leases.iter().copied().chain(lost.values()));
    let mut missing = Vec::new();
    for shard in shards {
        if known.contains(&shard.id) {
            continue;
        }
        if let Some(Lease { position, since, .. }) = lost.get(&shard.id) {
            let lease = Lease::new(&shard.id, position.clone(), shard.parents.clone());
            known.insert(shard.id.clone());
            missing.push(Lease { since: *since, ..lease });
            continue;
        }
        let descendants = descendants.get(&shard.id);
        let position = match initial {
            // A shard is begun after its parents are finished, so the lease was deleted since. KCL
            // does so.
            _ if shard.is_closed && descendants == Some(&Descendants::Begun) => continue,
            _ if shard.parents.iter().any(|parent| known.contains(parent)) => Position::TrimHorizon,
            InitialPosition::TrimHorizon if is_first || !shard.is_closed => Position::TrimHorizon,
            // The first worker was interrupted. Parents come first, so none of them has a lease.
            InitialPosition::TrimHorizon if descendants == Some(&Descendants::Listed) => {
                Position::TrimHorizon
            }
            InitialPosition::Latest if !shard.is_closed => Position::Latest,
            _ => continue,
        };
        known.insert(shard.id.clone());
        missing.push(Lease::new(&shard.id, position, shard.parents.clone()));
    }
    missing
}

/// What is known of the descendants of a shard; the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Descendants {
    Listed,
    /// At least one has a lease.
    Leased,
    /// At least one was read.
    Begun,
}

/// Returns what is known of the descendants of each shard that has children. Parents come first in
/// `shards`.
fn descendants<'s, 'l>(
    shards: &[&'s Shard],
    leases: impl Iterator<Item = &'l Lease>,
) -> BTreeMap<&'s ShardId, Descendants> {
    let leases: BTreeMap<_, _> = leases.map(|lease| (&lease.shard, &lease.position)).collect();
    let mut descendants = BTreeMap::new();
    for shard in shards.iter().rev() {
        let own = match leases.get(&shard.id) {
            Some(Position::At(_) | Position::End) => Descendants::Begun,
            Some(Position::TrimHorizon | Position::Latest) => Descendants::Leased,
            None => Descendants::Listed,
        };
        let known = descendants.get(&shard.id).map_or(own, |descendants| own.max(*descendants));
        for parent in &shard.parents {
            descendants.entry(parent).and_modify(|others| *others = known.max(*others)).or_insert(known);
        }
    }
    descendants
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
        let missing = missing(shards, &leases, &BTreeMap::new(), initial);
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
    fn a_first_start_that_was_interrupted_goes_on() {
        let shards = [
            shard("0", &[], true),
            shard("1", &[], true), // the first without a lease
            shard("2", &[], true),
            shard("3", &["0"], false),
            shard("4", &["1", "2"], true),
            shard("5", &["4"], false),
        ];
        let at = |id: &str| (id.to_owned(), Position::TrimHorizon);
        let expected = ["1", "2", "3", "4", "5"].map(at);
        assert_eq!(positions(&shards, &[lease("0")], TrimHorizon), expected);
        let latest = [at("3"), ("5".to_owned(), Position::Latest)];
        assert_eq!(positions(&shards, &[lease("0")], Latest), latest);
        // Those whose descendants have leases were not missed, but deleted.
        let leases = [lease("0"), Lease::new("5", Position::TrimHorizon, vec!["4".into()])];
        assert_eq!(positions(&shards, &leases, TrimHorizon), [at("3")]);
    }

    #[test]
    fn a_shard_is_finished_if_one_that_came_of_it_was_read() {
        let shards = [
            shard("0", &[], true),
            shard("1", &["0"], true), // its lease was deleted by KCL
            shard("2", &["0"], false),
            shard("3", &["1"], true), // so was that of this one
            shard("4", &["1"], false),
            shard("5", &["3"], false),
        ];
        let read = Position::parse("7", 0);
        for position in [read.clone(), Position::End] {
            let of_first = Lease::new("2", Position::TrimHorizon, vec!["0".into()]);
            let last = Lease::new("5", position, vec!["3".into()]);
            let leases = [lease("0"), of_first, Lease::new("4", read.clone(), vec!["1".into()]), last];
            for initial in [Latest, TrimHorizon] {
                assert_eq!(positions(&shards, &leases, initial), []);
            }
        }
        let unread = Lease::new("5", Position::TrimHorizon, vec!["3".into()]);
        let again = ["1", "2", "3", "4"].map(|id| (id.to_owned(), Position::TrimHorizon));
        assert_eq!(positions(&shards, &[lease("0"), unread], Latest), again, "nothing proves it");
    }

    #[test]
    fn a_lease_that_was_deleted_while_it_was_held_comes_back() {
        let shards = [shard("0", &[], true), shard("1", &["0"], false), shard("2", &[], false)];
        let held = |id: &str, position| {
            let lease = Lease { since: Some(3), ..Lease::new(id, position, Vec::new()) };
            (ShardId::from(id), lease)
        };
        let read = Position::parse("7", 1);
        let leases = [held("0", read.clone()), held("2", Position::Latest), held("9", read.clone())];
        let lost = BTreeMap::from(leases);
        let missing = missing(&shards, &[], &lost, Latest);
        let expected =
            [lost["0"].clone(), Lease::new("1", Position::TrimHorizon, vec!["0".into()]), lost["2"].clone()];
        assert_eq!(missing, expected);
        // So is a table, of which the parents of what was read are finished.
        let lost = BTreeMap::from([held("1", read)]);
        let missing = super::missing(&shards, &[], &lost, TrimHorizon);
        let ids: Vec<_> = missing.iter().map(|lease| &*lease.shard).collect();
        assert_eq!(ids, ["1", "2"]);
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
