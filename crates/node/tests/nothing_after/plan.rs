//! The steps of a case, drawn at random.

use connection::Encoding;
use proptest::prelude::*;

/// A token of a user. Times are in seconds; `life` counts from the moment when the token is
/// presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) session: u8,
    pub(crate) user: u8,
    /// `iat`.
    pub(crate) issued: Option<u8>,
    /// Time until `exp`.
    pub(crate) life: Option<u8>,
}

/// The selector of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Session(u8),
    User(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Stream(Encoding),
    LongPolling,
}

/// Selects a connection, a begun kill, or a revocation, modulo the number that exist by then.
pub(crate) type Which = u8;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Connect {
        transport: Transport,
        token: Option<Token>,
        kind: u8,
    },
    /// `large` if it exceeds the buffers of a socket.
    Publish {
        kind: u8,
        large: bool,
    },
    Read {
        client: Which,
        bytes: u16,
    },
    Poll {
        client: Which,
    },
    Renew {
        client: Which,
        token: Token,
        kind: u8,
    },
    /// `begun` if the kill is only begun, and continued in later steps.
    Revoke {
        who: Who,
        issued_up_to: Option<u8>,
        ticks: u8,
        refuse: bool,
        begun: bool,
    },
    /// Repeats a revocation with the same id.
    Repeat {
        which: Which,
    },
    /// Blacklists a session, as RIG does.
    Blacklist {
        session: u8,
        ticks: u8,
    },
    GoOn {
        which: Which,
        connections: u8,
    },
    Finish {
        which: Which,
        /// Whether the task that carries it out is cancelled.
        dropped: bool,
    },
    Lift {
        which: Which,
    },
    /// The client closes its socket.
    Leave {
        client: Which,
    },
    /// The client sends a close frame (WebSocket). It may continue without reading what is queued
    /// for it.
    SayClose {
        client: Which,
    },
    /// The fence of the node opens or closes.
    Fence {
        open: bool,
    },
    /// Tenths of a second.
    Advance {
        ticks: u8,
    },
    /// Yields once.
    Yield,
}

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// In the end, whether the node shuts down before all users are revoked, instead of after.
    pub(crate) leaves_first: bool,
}

pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let plan = (prop::collection::vec(step(), 10..70), any::<bool>());
    plan.prop_map(|(steps, leaves_first)| Plan { steps, leaves_first })
}

fn token() -> impl Strategy<Value = Token> {
    let issued = prop::option::weighted(0.8, 1u8..5);
    let life = prop::option::weighted(0.6, 1u8..15);
    (0u8..4, 0u8..2, issued, life).prop_map(|(session, user, issued, life)| Token {
        session,
        user,
        issued,
        life,
    })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![(0u8..4).prop_map(Who::Session), (0u8..2).prop_map(Who::User)]
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<Which>;
    let transport = prop::sample::select(vec![
        Transport::Stream(Encoding::SseChunked),
        Transport::Stream(Encoding::WebSocket),
        Transport::LongPolling,
    ]);
    let token_or_none = prop::option::weighted(0.9, token());
    let bound = prop::option::weighted(0.4, 1u8..5);
    prop_oneof![
        12 => (transport, token_or_none, 0u8..2)
            .prop_map(|(transport, token, kind)| Step::Connect { transport, token, kind }),
        14 => (0u8..2, any::<bool>()).prop_map(|(kind, large)| Step::Publish { kind, large }),
        6 => (which(), 1u16..3000).prop_map(|(client, bytes)| Step::Read { client, bytes }),
        5 => which().prop_map(|client| Step::Poll { client }),
        6 => (which(), token(), 0u8..2)
            .prop_map(|(client, token, kind)| Step::Renew { client, token, kind }),
        5 => (who(), bound, 1u8..200, any::<bool>(), any::<bool>())
            .prop_map(|(who, issued_up_to, ticks, refuse, begun)| Step::Revoke {
                who, issued_up_to, ticks, refuse, begun
            }),
        1 => which().prop_map(|which| Step::Repeat { which }),
        1 => (0u8..4, 1u8..200).prop_map(|(session, ticks)| Step::Blacklist { session, ticks }),
        3 => (which(), 1u8..4).prop_map(|(which, connections)| Step::GoOn { which, connections }),
        3 => (which(), any::<bool>()).prop_map(|(which, dropped)| Step::Finish { which, dropped }),
        4 => which().prop_map(|which| Step::Lift { which }),
        2 => which().prop_map(|client| Step::Leave { client }),
        2 => which().prop_map(|client| Step::SayClose { client }),
        3 => any::<bool>().prop_map(|open| Step::Fence { open }),
        3 => (1u8..60).prop_map(|ticks| Step::Advance { ticks }),
        12 => Just(Step::Yield),
    ]
}
