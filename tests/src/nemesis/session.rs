//! A session of the crowd: its token, its sockets, and what may still be sent to it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::socket::Socket;
use crate::token::token_of;

/// What may be sent to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Everything: no request to revoke it was sent.
    Live,
    /// Anything: a request to revoke it is under way.
    Asked,
    /// Nothing, since this moment.
    Silent(Instant, &'static str),
    /// Anything: the outcome of the request to revoke it is unknown.
    Unknown,
}

/// A session.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) token: String,
    /// The type of the events that it wants.
    pub(super) group: usize,
    state: Cell<State>,
    sockets: RefCell<Vec<Weak<Socket>>>,
}

impl Session {
    pub(super) fn new(name: String, group: usize) -> Self {
        Self {
            token: token_of(&name),
            name,
            group,
            state: Cell::new(State::Live),
            sockets: RefCell::default(),
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    pub(super) fn set(&self, state: State) {
        self.state.set(state);
    }

    pub(super) fn is_live(&self) -> bool {
        self.state() == State::Live
    }

    /// Adds a socket whose payloads belong to this session.
    pub(super) fn add(&self, socket: &Rc<Socket>) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Rc::downgrade(socket));
    }

    /// From now on, nothing may be sent to it. What has arrived before is read first: it counts as
    /// before, however late this client gets to read it.
    pub(super) fn silence(&self, why: &'static str) {
        if matches!(self.state(), State::Silent(..)) {
            return;
        }
        let sockets: Vec<_> = self.sockets.borrow().iter().filter_map(Weak::upgrade).collect();
        sockets.iter().for_each(|socket| socket.absorb());
        self.set(State::Silent(Instant::now(), why));
    }
}
