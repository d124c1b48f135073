use session::{LostLease, NodeName};

use super::*;
use crate::core::{Identity, Input};
use crate::message::Stored;

const LEASE: Duration = Duration::from_secs(15);
const EPOCH: Epoch = Epoch(7);

/// The only node of a cluster, and its stream, which holds nothing but its beats.
struct Alone {
    core: Core,
    now: Now,
    last: u64,
    beat: Option<Stored>,
    /// The server stores and answers.
    works: bool,
    rollbacks: usize,
}

impl Alone {
    /// Follows the stream, with a lease.
    fn new() -> Self {
        let now = Duration::from_secs(100);
        let me = Identity {
            life: Incarnation::from_bytes([1; Incarnation::BYTES]),
            node: NodeName::default(),
            earlier: Vec::new(),
            lease: LEASE,
            policy: LostLease::Closed,
        };
        let core = Core::new(me, Position::default(), now);
        let mut alone = Self { core, now, last: 0, beat: None, works: true, rollbacks: 0 };
        alone.pass(Duration::from_secs(5));
        assert!(alone.has_lease());
        alone
    }

    fn has_lease(&self) -> bool {
        self.now < self.core.lease_until()
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(100);
            self.core.handle(self.now, Input::Tick);
            while let Some(action) = self.core.next_action() {
                if let Some(input) = self.answer(action) {
                    self.core.handle(self.now, input);
                }
            }
        }
    }

    fn answer(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Inspect if self.works => Some(Input::Inspected(StreamState {
                epoch: EPOCH,
                last: self.last,
                adopted: true,
                beats: self.beat.iter().cloned().collect(),
                now: 1,
            })),
            Action::Inspect => Some(Input::NotInspected),
            Action::Fetch { from, .. } => {
                let messages = self.beat.iter().filter(|beat| beat.position.sequence >= from).cloned();
                Some(Input::Fetched { from, messages: messages.collect(), upto: self.last })
            }
            Action::Beat(beat) if self.works => {
                self.last += 1;
                let position = Position { epoch: EPOCH, sequence: self.last };
                let content = Content::Beat(beat);
                let beat = Stored { position, stored_at: 1, digest: self.last, content };
                self.beat = Some(beat.clone());
                Some(Input::Live(beat))
            }
            Action::CloseFence(Lost::Rollback) => {
                self.rollbacks += 1;
                None
            }
            _ => None,
        }
    }

    /// The leader of the stream is away until the node asks for the state of the stream.
    fn election(&mut self) {
        self.works = false;
        self.pass(Duration::from_secs(5));
        self.works = true;
    }
}

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
