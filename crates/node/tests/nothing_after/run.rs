//! Executes a plan step by step, and records what is observable after each step.

use std::fmt::Write;
use std::time::Duration;

use connection::{BindError, Encoding};
use session::{Mode, Revocation, RevocationId, Selector};

use crate::model::{Renewed, State};
use crate::plan::{Plan, Step, Token, Transport, Which, Who};
use crate::world::{World, wants};

/// Runs a case with its own clock. Returns its trace.
///
/// # Panics
/// Panics if something differs from the model.
pub(crate) fn run(plan: &Plan) -> String {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new();
        let mut trace = String::new();
        for step in &plan.steps {
            let outcome = world.take(*step).await;
            writeln!(trace, "{step:?}: {outcome}{}", world.seen()).expect("a String takes all text");
        }
        world.end(plan.leaves_first).await;
        trace + &world.seen()
    })
}

impl World {
    async fn take(&mut self, step: Step) -> String {
        match step {
            Step::Connect { transport, token, kind } => {
                return format!("{:?}", self.connect(transport, token, kind));
            }
            Step::Publish { kind, large } => self.publish(kind, large).await,
            Step::Read { client, bytes } => {
                self.client(client).map(|n| self.clients[n].read(bytes.into()));
            }
            Step::Poll { client } => self.poll(client),
            Step::Renew { client, token, kind } => {
                return self.renew(client, token, kind).map_or(String::new(), |done| format!("{done:?}"));
            }
            Step::Revoke { who, issued_up_to, ticks, refuse, begun } => {
                self.revoke(who, issued_up_to, ticks, refuse);
                let last = self.kills.len() - 1;
                if !begun {
                    self.finish(last, false);
                }
            }
            Step::Repeat { which } => self.repeat(which),
            Step::Blacklist { session, ticks } => self.blacklist(session, ticks),
            Step::GoOn { which, connections } => {
                if let Some(which) = self.kill(which) {
                    self.go_on(which, connections.into());
                }
            }
            Step::Finish { which, dropped } => {
                if let Some(which) = self.kill(which) {
                    self.finish(which, dropped);
                }
            }
            Step::Lift { which } => self.lift(which),
            Step::Leave { client } => self.leave(client),
            Step::SayClose { client } => self.say_close(client),
            Step::Fence { open: true } => self.open_fence(),
            Step::Fence { open: false } => self.close_fence(),
            Step::Advance { ticks } => self.advance(ticks).await,
            Step::Yield => tokio::task::yield_now().await,
        }
        self.look();
        String::new()
    }

    fn kill(&self, which: Which) -> Option<usize> {
        (!self.kills.is_empty()).then(|| usize::from(which) % self.kills.len())
    }

    fn renew(&mut self, which: Which, token: Token, kind: u8) -> Option<Renewed> {
        let n = self.client(which)?;
        let connection = self.clients[n].connection.upgrade()?;
        let told = connection.close_reason().is_some();
        let expected = self.model.renew(n, token, kind, told);
        let done = match connection.set_subscriptions(&[self.subject(&token)], &wants(kind)) {
            Ok(()) => Renewed::Done,
            Err(BindError::Gone) => Renewed::Gone,
            Err(BindError::OtherUser) => Renewed::OtherUser,
            Err(BindError::SessionBlacklisted(_)) => Renewed::Barred,
            Err(BindError::NoLease) => Renewed::NoLease,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(done, expected, "client {n} with {token:?}");
        Some(done)
    }

    pub(crate) fn revoke(&mut self, who: Who, issued_up_to: Option<u8>, ticks: u8, refuse: bool) {
        let id = format!("r{}", self.asked.len());
        let revocation = Revocation {
            id: RevocationId::new(&id).expect("an id"),
            selector: self.selector(who),
            issued_up_to: issued_up_to.map(u64::from),
            mode: if refuse { Mode::Revoke } else { Mode::Disconnect },
            validity: Duration::from_millis(100) * ticks.into(),
            by: None,
            reason: None,
            extends: false,
        };
        if refuse {
            self.model.bar(&id, who, issued_up_to, ticks);
        }
        self.asked.push(revocation.clone());
        self.begin(revocation, who);
    }

    fn selector(&self, who: Who) -> Selector {
        let name = |text: String| text.parse().expect("a name");
        match who {
            Who::Session(session) => Selector::session(name(format!("session-{session}"))),
            Who::User(user) => {
                let config = self.sessions.config();
                config.selector(None, "/sub", name(format!("user-{user}"))).expect("a claim to revoke by")
            }
        }
    }

    /// Has no effect while the log knows the first revocation.
    fn repeat(&mut self, which: Which) {
        let known = |one: &&Revocation| {
            !one.extends && self.sessions.log().find(&one.id).expect("the log can be read").is_some()
        };
        let known: Vec<_> = self.asked.iter().filter(known).cloned().collect();
        let Some(again) = known.get(usize::from(which) % known.len().max(1)) else { return };
        let kills = self.kills.len();
        self.begin(again.clone(), Who::Session(u8::MAX));
        assert_eq!(self.kills.len(), kills, "a revocation that is known is begun again");
    }

    fn blacklist(&mut self, session: u8, ticks: u8) {
        let who = Who::Session(session);
        let name = self.selector(who).value().clone();
        let revocation = Revocation::blacklist(&name, Duration::from_millis(100) * ticks.into());
        self.model.bar(revocation.id.as_str(), who, None, ticks);
        self.asked.push(revocation.clone());
        self.begin(revocation, who);
        self.finish(self.kills.len() - 1, false);
    }

    fn lift(&mut self, which: Which) {
        if let Some(revocation) = self.asked.get(usize::from(which) % self.asked.len().max(1)) {
            let id = revocation.id.clone();
            self.sessions.lift(&id, None).expect("the log in memory forgets");
            self.model.lift(id.as_str());
        }
    }

    /// One poll at a time, as browsers do it.
    pub(crate) fn poll(&mut self, which: Which) {
        let Some(n) = self.client(which) else { return };
        let client = &mut self.clients[n];
        let Some(connection) = client.connection.upgrade() else { return };
        let (hub, answers) = (self.hub.clone(), client.answers.clone());
        if !matches!(client.transport, Transport::LongPolling) || client.polls > answers.lock().len() {
            return;
        }
        client.polls += 1;
        let known = |answers: &[Result<connection::Batch, _>]| {
            answers.iter().rev().find_map(|one| one.as_ref().ok().map(|batch| batch.cursor))
        };
        let last = known(&answers.lock());
        tokio::spawn(async move {
            let answer = hub.poll(&connection, last, None).await;
            answers.lock().push(answer);
        });
    }

    fn leave(&mut self, which: Which) {
        let Some(n) = self.client(which) else { return };
        if self.clients[n].wire.take().is_some() {
            self.clients[n].left = true;
            self.is_leaving(n);
        }
    }

    fn say_close(&mut self, which: Which) {
        let Some(n) = self.client(which) else { return };
        if let (Transport::Stream(Encoding::WebSocket), Some(_)) =
            (self.clients[n].transport, &self.clients[n].wire)
        {
            self.clients[n].say_close();
            self.is_leaving(n);
        }
    }

    fn is_leaving(&mut self, n: usize) {
        let state = &mut self.model.members[n].state;
        *state = if *state == State::Open { State::Leaving } else { *state };
    }

    pub(crate) async fn advance(&mut self, ticks: u8) {
        let over = self.model.advance(ticks);
        tokio::time::advance(Duration::from_millis(100) * ticks.into()).await;
        self.settle().await;
        self.look();
        self.all_over(&over);
    }

    /// Returns what is observable of every client.
    fn seen(&self) -> String {
        let mut all = String::new();
        for client in &self.clients {
            let reason = client.connection.upgrade().map(|connection| connection.close_reason());
            let (read, events) = (client.bytes.len(), client.events());
            write!(all, "\n  {reason:?} {read} {} {events:?}", client.written()).expect("a String takes all");
        }
        all
    }
}
