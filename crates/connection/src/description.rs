//! What an operator can know of a connection.

use std::time::{Duration, SystemTime};

use session::{Registration, SessionName};

use crate::client::Client;
use crate::connection::{Connection, Outlet};
use crate::transport::Transport;

/// A connection, as it is at a moment.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its number on this node.
    pub id: u64,
    /// How the client holds it.
    pub transport: Transport,
    /// When it was opened.
    pub since: SystemTime,
    /// Who opened it.
    pub client: Client,
    /// The sessions of its tokens.
    pub sessions: Vec<SessionName>,
    /// How long the token is good that expires first; `None` if there is none, or if tokens do not
    /// expire.
    pub token_left: Option<Duration>,
    /// Its subscriptions, a JSON list.
    pub subscriptions: Box<str>,
    /// Events taken for the client.
    pub delivered: u32,
    /// Events thrown away because the client was too slow, or gone.
    pub dropped: u32,
}

impl Connection {
    /// What an operator can know of it.
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
            client: self.client().clone(),
            sessions: ties.tokens.iter().filter_map(|token| token.session().cloned()).collect(),
            token_left: ties.tokens.iter().filter_map(Registration::left).min(),
            subscriptions: ties.subscriptions.clone(),
            delivered,
            dropped,
        }
    }

    /// Whether one of its tokens is of this session.
    pub fn belongs_to(&self, name: &SessionName) -> bool {
        self.ties().lock().tokens.iter().any(|token| token.session() == Some(name))
    }

    /// The sessions of its tokens.
    pub fn sessions(&self) -> Vec<SessionName> {
        self.ties().lock().tokens.iter().filter_map(|token| token.session().cloned()).collect()
    }
}
