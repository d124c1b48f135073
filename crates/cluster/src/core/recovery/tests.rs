use session::{LostLease, NodeName, Revocation, SessionName};

use super::*;
use crate::codec::NEWEST;
use crate::core::alone::Alone;
use crate::core::{Identity, Input};
use crate::message::{Beat, ServedDefinitions};

#[test]
fn a_new_leader_that_does_not_count_the_last_message_yet_costs_no_lease() {
    let mut node = Alone::new();
    node.election();
    node.last -= 1;
    node.pass(Duration::from_secs(1));
    node.last += 1;
    node.pass(Duration::from_secs(5));
    assert_eq!((node.rollbacks, node.has_lease()), (0, true));
    let until = node.core.lease_until();
    node.pass(Duration::from_secs(5));
    assert!(node.core.lease_until() > until, "its beats renew the lease again");
}

#[test]
fn a_stream_that_goes_on_lacking_a_message_has_lost_it() {
    let mut node = Alone::new();
    node.election();
    node.last -= 1;
    node.pass(BEHIND + INSPECT_AGAIN * 2);
    assert_eq!((node.rollbacks, node.has_lease()), (1, false));
}

#[test]
fn what_is_stored_under_the_older_cookie_is_stored_again_before_the_first_lease() {
    let session = SessionName::try_from("s").expect("it is short");
    let revocation = Revocation::blacklist(&session, Duration::from_secs(600));
    let id = revocation.id.clone();
    let mut node = Alone::replacing_cookie(revocation);
    assert_eq!(node.publications.get(&id), Some(&1));
    assert!(node.stored(&id).is_some());
    node.pass(Duration::from_secs(60));
    assert_eq!(node.publications.get(&id), Some(&1), "once");
}

#[test]
fn a_node_stops_when_another_process_runs_on_a_copy_of_its_folder() {
    let mut node = Alone::new();
    node.hear_beat(2, "other", &[9]);
    assert_eq!((node.is_duplicate, node.has_lease()), (false, true));
    // The life of this node is 1, which says nothing of the order of both.
    for copy in [0, 3] {
        let mut node = Alone::new();
        node.hear_beat(copy, "local", &[1]);
        assert_eq!((node.is_duplicate, node.has_lease()), (true, false), "{copy}");
    }
}

#[test]
fn a_life_that_was_said_to_have_ended_is_waited_for_if_it_beats() {
    let mut node = Alone::new();
    let now = 100_000;
    node.hear_beat_of((2, 7), "b", &[], now);
    node.hear_beat(3, "b", &[2]);
    assert_eq!(node.live_others(), [3]);
    node.hear_beat_of((2, 7), "b", &[], now);
    assert_eq!(node.live_others(), [3], "somebody has stored its last beat again");
    node.hear_beat_of((2, 8), "b", &[], now);
    assert_eq!(node.live_others(), [2, 3]);
}

#[test]
fn beats_that_are_stored_again_do_not_stop_a_node() {
    let mut node = Alone::new();
    node.pass(Duration::from_secs(20));
    let long_ago = 100_000;
    for count in [3, 4] {
        node.hear_beat_of((0, count), "local", &[], long_ago);
    }
    assert!(!node.is_duplicate);
    let now = 120_000;
    for count in [5, 6] {
        node.hear_beat_of((0, count), "local", &[], now);
    }
    assert!(node.is_duplicate, "the process runs");
}

#[test]
fn a_node_that_reads_a_beat_under_another_cookie_before_its_own_does_not_join() {
    let mut node = Alone::beside_another_cookie();
    node.pass(Duration::from_secs(5));
    assert_eq!((node.waits_for, node.has_lease()), (Some(WaitsFor::Cookie), false));
    // The other one has ended.
    node.pass(Duration::from_secs(20));
    assert!(node.has_lease());
    node.hear_forged_beat();
    node.pass(Duration::from_secs(20));
    assert!(node.has_lease(), "it has joined, and nobody can stop it so");
}

#[test]
fn a_question_is_answered_twice_in_a_second_at_most() {
    let mut node = Alone::new();
    assert!(node.is_asked(2));
    assert!(!node.is_asked(2));
    assert!(node.is_asked(3), "each life has its answer");
    node.pass(Duration::from_millis(600));
    assert!(node.is_asked(2));
}

/// Its log has applied the stream up to 49. After the stream has gone back to 46, others store 47
/// to 54, of which it gets the last ones only.
#[test]
fn a_node_that_catches_up_from_its_log_does_not_follow_a_stream_in_doubt() {
    let [life, before] = [1, 9].map(|byte| Incarnation::from_bytes([byte; Incarnation::BYTES]));
    let position = Position { epoch: Epoch(7), sequence: 49 };
    let me = Identity {
        life,
        node: NodeName::default(),
        earlier: vec![before],
        lease: Duration::from_secs(15),
        policy: LostLease::Closed,
        replaces_cookie: false,
    };
    let at = |sequence, content| Stored {
        position: Position { sequence, ..position },
        stored_at: 1_000,
        digest: sequence,
        outdated: false,
        content,
    };
    let beat = Beat {
        version: NEWEST,
        life: before,
        node: NodeName::default(),
        count: 1,
        applied: position,
        newest: 1_000,
        settled: 0,
        pending: 0,
        lease: me.lease,
        policy: me.policy,
        ends: Vec::new(),
        has_history: true,
        leaving: false,
        definitions: ServedDefinitions::default(),
    };
    let beats = vec![at(50, Content::Beat(beat))];
    let stream = StreamState { epoch: position.epoch, last: 54, adopted: true, beats, now: 1_000 };
    for goes_back in [true, false] {
        let mut now = Duration::from_secs(100);
        let mut core = Core::new(me.clone(), position, now);
        core.handle(now, Input::Inspected(stream.clone()));
        // The server is silent for longer than a node waits before it doubts the stream.
        for _ in 0..35 {
            now += Duration::from_millis(100);
            core.handle(now, Input::Tick);
        }
        for sequence in 50..=54 {
            core.handle(now, Input::Live(at(sequence, Content::Definitions)));
        }
        assert_eq!((core.position().sequence, core.is_following()), (54, false));
        let beats = if goes_back { Vec::new() } else { stream.beats.clone() };
        core.handle(now, Input::Inspected(StreamState { beats, ..stream.clone() }));
        let actions: Vec<_> = std::iter::from_fn(|| core.next_action()).collect();
        let has_gone_back = actions.iter().any(|action| matches!(action, Action::RolledBack(_)));
        assert_eq!((has_gone_back, core.is_following()), (goes_back, !goes_back));
    }
}
