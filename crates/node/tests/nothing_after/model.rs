//! The model of what must hold: who is admitted, who must be terminated, and which events each
//! client may have been sent.

use crate::plan::{Token, Who};

/// Tenths of a second since the start.
pub(crate) type Tick = u64;

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: Tick,
    /// Whether the fence of the node is closed.
    pub(crate) closed: bool,
    pub(crate) members: Vec<Member>,
    bars: Vec<Bar>,
}

/// A connection.
pub(crate) struct Member {
    tokens: Vec<Token>,
    /// When its tokens expire; `None` for never.
    ends: Option<Tick>,
    kind: u8,
    pub(crate) state: State,
    /// The numbers of the events that it may have been sent, in order.
    pub(crate) events: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// A revocation is in force, and may not have terminated it yet.
    Ending,
    /// It was open when its client began to leave, or the node to shut down.
    Leaving,
    Over,
}

struct Bar {
    id: String,
    who: Who,
    issued_up_to: Option<u8>,
    until: Tick,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    Done,
    Gone,
    OtherUser,
    Barred,
    NoLease,
}

impl Who {
    fn has(self, token: &Token, issued_up_to: Option<u8>) -> bool {
        let selected = match self {
            Self::Session(session) => token.session == session,
            Self::User(user) => token.user == user,
        };
        // A token without `iat` counts as older than any other.
        selected && issued_up_to.is_none_or(|last| token.issued.unwrap_or(0) <= last)
    }
}

impl Model {
    pub(crate) fn refuses(&self, token: &Token) -> bool {
        self.closed || self.bars(token)
    }

    fn bars(&self, token: &Token) -> bool {
        self.bars.iter().any(|bar| self.now < bar.until && bar.who.has(token, bar.issued_up_to))
    }

    /// Whether payload for the member passes the fence: it belongs to a session.
    pub(crate) fn is_fenced(&self, member: usize) -> bool {
        !self.members[member].tokens.is_empty()
    }

    pub(crate) fn connect(&mut self, token: Option<Token>, kind: u8) {
        let mut member =
            Member { tokens: Vec::new(), ends: None, kind, state: State::Open, events: Vec::new() };
        token.into_iter().for_each(|token| member.add(token, self.now));
        self.members.push(member);
    }

    pub(crate) fn publish(&mut self, kind: u8, number: u32) {
        let wanting = self.members.iter_mut().filter(|one| one.kind == kind && one.state != State::Over);
        wanting.for_each(|member| member.events.push(number));
    }

    /// `told` if the connection is closed already.
    pub(crate) fn renew(&mut self, member: usize, token: Token, kind: u8, told: bool) -> Renewed {
        let (barred, closed, now) = (self.bars(&token), self.closed, self.now);
        let member = &mut self.members[member];
        match member.state {
            _ if told => Renewed::Gone,
            _ if member.tokens.first().is_some_and(|first| first.user != token.user) => Renewed::OtherUser,
            _ if barred => Renewed::Barred,
            _ if closed => Renewed::NoLease,
            State::Ending | State::Over => Renewed::Gone,
            State::Open | State::Leaving => {
                member.add(token, now);
                member.kind = kind;
                Renewed::Done
            }
        }
    }

    /// Marks the members that a revocation selects, and returns them.
    pub(crate) fn end(&mut self, who: Who, issued_up_to: Option<u8>) -> Vec<usize> {
        let mut ending = Vec::new();
        for (n, member) in self.members.iter_mut().enumerate() {
            if member.state != State::Over && member.tokens.iter().any(|token| who.has(token, issued_up_to)) {
                member.state = State::Ending;
                ending.push(n);
            }
        }
        ending
    }

    /// Refuses tokens for a while. An entry with the same id is prolonged, never shortened.
    pub(crate) fn bar(&mut self, id: &str, who: Who, issued_up_to: Option<u8>, ticks: u8) {
        let until = self.now + Tick::from(ticks);
        match self.bars.iter_mut().find(|bar| bar.id == id && self.now < bar.until) {
            Some(known) => known.until = known.until.max(until),
            None => self.bars.push(Bar { id: id.to_owned(), who, issued_up_to, until }),
        }
    }

    pub(crate) fn lift(&mut self, id: &str) {
        self.bars.retain(|bar| bar.id != id);
    }

    /// Advances the time. Returns the members whose tokens have expired, except those that a
    /// revocation is about to terminate.
    pub(crate) fn advance(&mut self, ticks: u8) -> Vec<usize> {
        self.now += Tick::from(ticks);
        let now = self.now;
        let ended = |(_, member): &(usize, &mut Member)| {
            let here = matches!(member.state, State::Open | State::Leaving);
            here && member.ends.is_some_and(|ends| ends <= now)
        };
        let over = self.members.iter_mut().enumerate().filter(ended);
        over.map(|(n, member)| {
            member.state = State::Over;
            n
        })
        .collect()
    }

    /// Returns the number of sessions with open connections, and of their registrations.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let open = self.members.iter().filter(|member| member.state == State::Open);
        let tokens: Vec<_> = open.flat_map(|member| &member.tokens).collect();
        let mut sessions: Vec<_> = tokens.iter().map(|token| token.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        (sessions.len(), tokens.len())
    }
}

impl Member {
    /// All tokens of a connection belong to one user, so all of them last until the latest expiry.
    fn add(&mut self, token: Token, now: Tick) {
        let ends = token.life.map(|seconds| now + Tick::from(seconds) * 10);
        self.ends = if self.tokens.is_empty() { ends } else { self.ends.zip(ends).map(|(a, b)| a.max(b)) };
        let key = |token: &Token| (token.session, token.issued);
        self.tokens.retain(|known| key(known) != key(&token));
        self.tokens.push(token);
    }
}
