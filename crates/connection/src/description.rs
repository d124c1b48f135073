//! A connection as operators see it.

use std::time::{Duration, SystemTime};

use session::{Registration, SessionName};

use crate::client::Client;
use crate::connection::{Connection, Outlet};
use crate::transport::Transport;

/// A connection at one moment.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its number on this node.
    pub id: u64,
    /// Its transport.
    pub transport: Transport,
    /// When it was opened.
    pub since: SystemTime,
    /// Who opened it.
    pub client: Client,
    /// The sessions of its tokens.
    pub sessions: Vec<SessionName>,
    /// The time until the first of its tokens expires; `None` if it has no token, or if tokens do
    /// not expire.
    pub token_left: Option<Duration>,
    /// Its subscriptions, a JSON list.
    pub subscriptions: Box<str>,
    /// Events taken for the client.
    pub delivered: u32,
    /// Events dropped because the client was too slow, or gone.
    pub dropped: u32,
}

impl Connection {
    /// Describes it for operators.
    pub fn describe(&self) -> Description {
        let (delivered, dropped) = match self.outlet() {
            Outlet::Stream { writer, .. } => {
                let tally = writer.lock().tally();
                (tally.delivered, tally.dropped)
            }
            Outlet::Mailbox(mailbox) => mailbox.counts(),
        };
        let ties = self.ties().lock();
        Description {
            id: self.id().number(),
            transport: self.transport(),
            since: self.since(),
            client: self.client(),
            sessions: ties.tokens.iter().filter_map(|token| token.session().cloned()).collect(),
            token_left: ties.tokens.iter().filter_map(Registration::left).min(),
            subscriptions: ties.subscriptions.clone(),
            delivered,
            dropped,
        }
    }

    /// Returns `true` if one of its tokens is of this session.
    pub fn belongs_to(&self, name: &SessionName) -> bool {
        self.ties().lock().tokens.iter().any(|token| token.session() == Some(name))
    }

    /// Returns the sessions of its tokens.
    pub fn sessions(&self) -> Vec<SessionName> {
        self.ties().lock().tokens.iter().filter_map(|token| token.session().cloned()).collect()
    }
}
