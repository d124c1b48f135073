//! What a revocation and a lift are answered in a cluster.

use rig_node::{NodeReach, NotLifted, NotRevoked, Reach, Readiness, Spread};
use session::{LostLease, RevokeError};
use tokio::time::Instant;

use super::*;

/// Returns a revocation with an id that a caller has chosen.
fn ordered(id: &str, session: &str) -> Revocation {
    let id = RevocationId::new(id).expect("an id");
    Revocation { id, extends: false, ..Revocation::blacklist(&name(session), 60 * MINUTE) }
}

impl Member {
    async fn order(&self, id: &str, session: &str, within: Duration) -> Result<Outcome, NotRevoked> {
        self.node.revoke(ordered(id, session), false, within).await
    }

    fn spread(&self, id: &str) -> Spread {
        self.node.spread(&ordered(id, "s").id).expect("it was accepted here")
    }

    fn is_blacklisted(&self, session: &str) -> bool {
        self.node.is_blacklisted(&name(session))
    }
}

/// Returns how far a revocation that was accepted now has got.
fn done(outcome: Result<Outcome, NotRevoked>) -> Spread {
    match outcome {
        Ok(Outcome::Done(_, Some(spread))) => spread,
        other => panic!("{other:?}"),
    }
}

fn unconfirmed(name: &NodeName) -> Spread {
    let nodes = [(name.clone(), NodeReach::Unconfirmed(LostLease::Closed))].into();
    Spread { reach: Reach::Pending, nodes }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_every_node_has_applied_is_complete_at_once() {
    let (_network, a, b) = two_nodes().await;
    let _theirs = b.open("s").unwrap();
    let began = Instant::now();
    let spread = done(a.order("i", "s", WAIT).await);
    assert_eq!((spread.reach, began.elapsed()), (Reach::Complete, Duration::ZERO));
    match spread.nodes[&b.name] {
        NodeReach::Applied(Some(receipt)) => assert_eq!(receipt.connections, 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(a.spread("i"), spread);
    assert_eq!(b.node.spread(&ordered("i", "s").id), None, "it was accepted at a");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_a_node_has_not_confirmed_is_pending_until_it_does() {
    let (network, a, b) = two_nodes().await;
    network.hold(&b.name);
    let began = Instant::now();
    assert_eq!(done(a.order("i", "s", WAIT).await), unconfirmed(&b.name));
    assert_eq!(began.elapsed(), WAIT);
    assert_eq!(done(a.order("j", "s", Duration::ZERO).await), unconfirmed(&b.name));
    assert_eq!(began.elapsed(), WAIT);

    network.let_through(&b.name, None);
    network.settle().await;
    assert_eq!(a.spread("i").reach, Reach::Complete);
    let again = a.order("i", "s", WAIT).await;
    assert!(matches!(&again, Ok(Outcome::Before(_, Some(spread))) if *spread == a.spread("i")), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_not_waited_for_longer_than_its_lease() {
    let (network, a, b) = two_nodes().await;
    network.cut(&b.name);
    let began = Instant::now();
    let spread = done(a.order("i", "s", 2 * LEASE).await);
    assert_eq!(spread.reach, Reach::Complete);
    assert!(matches!(spread.nodes[&b.name], NodeReach::Expired(_)), "{spread:?}");
    assert!(began.elapsed() <= LEASE + Duration::from_millis(20), "{:?}", began.elapsed());
    assert_eq!((a.node.readiness(), b.node.readiness()), (Readiness::Ready, Readiness::NoLease));
    assert!(b.open("s").is_err() && !b.is_blacklisted("s"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_queues_what_it_accepts() {
    let (network, a, b) = two_nodes().await;
    network.cut(&a.name);
    assert_eq!(done(a.order("i", "s", WAIT).await), Spread::queued());
    assert!(a.is_blacklisted("s") && !b.is_blacklisted("s"));
    assert_eq!(a.node.unshared_count(), 1);

    network.connect(&a.name);
    network.settle().await;
    assert_eq!(a.spread("i").reach, Reach::Complete);
    assert!(b.is_blacklisted("s"));
    assert_eq!(a.node.unshared_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_queues_too_much_accepts_no_more() {
    let (network, a, _b) = two_nodes().await;
    network.cut(&a.name);
    for number in 0..Node::MOST_QUEUED {
        a.log.append(&ordered(&number.to_string(), "s")).expect("the log in memory forgets");
    }
    let refused = a.order("i", "t", WAIT).await;
    assert!(matches!(refused, Err(NotRevoked::QueueFull)), "{refused:?}");
    assert!(!a.is_blacklisted("t"));
}

#[tokio::test(start_paused = true)]
async fn of_two_revocations_with_one_id_at_two_nodes_the_first_in_the_stream_counts() {
    let (network, a, b) = two_nodes().await;
    network.hold(&b.name);
    assert_eq!(done(a.order("i", "s", Duration::ZERO).await), unconfirmed(&b.name));
    let refused = b.order("i", "t", WAIT).await;
    assert!(matches!(refused, Err(NotRevoked::Refused(RevokeError::Conflict))), "{refused:?}");

    network.let_through(&b.name, None);
    network.settle().await;
    assert_eq!(a.spread("i").reach, Reach::Complete);
    for node in [&a, &b] {
        assert!(node.is_blacklisted("s"), "at {}", node.name);
        let record = node.node.find(ordered("i", "s").id).await.unwrap().expect("it is in force");
        assert_eq!(record.revocation.selector, ordered("i", "s").selector, "at {}", node.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lift_without_the_stream_is_refused_and_the_revocation_stays() {
    let (network, a, b) = two_nodes().await;
    b.blacklist("s", 60 * MINUTE, WAIT).await;
    network.cut(&a.name);
    let refused = a.node.lift(id("s"), None, WAIT).await;
    assert!(matches!(refused, Err(NotLifted::NoQuorum(_))), "{refused:?}");
    assert!(a.is_blacklisted("s") && b.is_blacklisted("s"));
    network.connect(&a.name);
    network.settle().await;
    assert!(a.is_blacklisted("s") && b.is_blacklisted("s"), "it is not lifted later");
    assert!(a.lift("s").await && !a.is_blacklisted("s") && !b.is_blacklisted("s"));
}

#[tokio::test(start_paused = true)]
async fn a_lift_that_a_node_has_not_applied_is_pending() {
    let (network, a, b) = two_nodes().await;
    b.blacklist("s", 60 * MINUTE, WAIT).await;
    network.hold(&b.name);
    match a.node.lift(id("s"), None, WAIT).await {
        Ok(LiftOutcome::Done(Some(spread))) => assert_eq!(spread, unconfirmed(&b.name)),
        other => panic!("{other:?}"),
    }
    assert!(!a.is_blacklisted("s") && b.is_blacklisted("s"));
    network.let_through(&b.name, None);
    network.settle().await;
    assert!(!b.is_blacklisted("s"));
}

/// RIG's node that joins loses all entries of a peer that has two or more, and believes that it is
/// in sync.
#[tokio::test(start_paused = true)]
async fn d02_a_node_that_joins_has_every_entry_before_it_lets_sessions_in() {
    let network = Network::default();
    let a = Member::join(&network, "a");
    tokio::time::sleep(LEASE / 3).await;
    for session in ["s", "t", "u", "v"] {
        a.blacklist(session, 60 * MINUTE, WAIT).await;
    }
    a.lift("v").await;
    let b = Member::join(&network, "b");
    network.hold(&b.name);
    for entries in 0..3 {
        tokio::time::sleep(LEASE).await;
        assert_eq!((b.node.readiness(), entries), (Readiness::NoLease, entries));
        network.let_through(&b.name, Some(1));
        network.settle().await;
    }
    network.let_through(&b.name, None);
    network.settle().await;
    tokio::time::sleep(LEASE / 2).await;
    assert_eq!(b.node.readiness(), Readiness::Ready);
    assert_eq!(["s", "t", "u", "v"].map(|session| b.open(session).is_ok()), [false, false, false, true]);
}

/// RIG's node does not terminate the connections of sessions whose entries it gets from a peer.
#[tokio::test(start_paused = true)]
async fn d03_what_a_node_learns_when_it_is_back_terminates_its_connections() {
    let (network, a, b) = two_nodes().await;
    let (theirs, others) = (b.open("s").unwrap(), b.open("other").unwrap());
    network.cut(&b.name);
    a.blacklist("s", 60 * MINUTE, Duration::ZERO).await;
    assert!(theirs.close_reason().is_none(), "b has not heard of it");
    network.connect(&b.name);
    network.settle().await;
    assert!(theirs.close_reason().is_some() && others.close_reason().is_none());
    a.publish(1).await;
    b.publish(2).await;
    network.settle().await;
    assert_eq!((received(&theirs), received(&others)), (0, 2));
}
