//! Looks at NATS as it is configured (`rig check --online`).
//!
//! Subjects are subscribed to without a queue group: in it, messages would be taken from gateways
//! that run. What may be published is not seen without publishing.

use std::fmt::Display;
use std::time::Duration;

use ::nats::{NatsAccess, cause};
use async_nats::{Client, Event, ServerError};
use futures_util::StreamExt;
use futures_util::future::{join_all, ready};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{NatsConfig, jetstream};
use crate::check::Finding;

/// What the connection is called.
const CONNECTION: &str = "nats: connection";

/// Limit of events that are not read yet. Later ones are dropped, so that of more subjects than
/// these, some would not be named as refused.
const EVENTS: usize = 1024;

/// Limit of messages of one subscription. They are dropped; other subscribers get them too.
const MESSAGES: usize = 1;

/// The part of the time in which servers are asked why there is no connection.
const CAUSES: Duration = Duration::from_secs(3);

/// Limit of servers that are asked.
const ASKED: usize = 8;

/// The settings of certificates.
const CERTIFICATES: &str = "NATS_CA and NATS_CERT";

const LATE: &str = "no answer in time";

/// Connects to NATS, and looks for the stream and the consumer, or the permissions for subjects.
/// Takes `within` at most.
pub async fn check(config: NatsConfig, within: Duration) -> Vec<Finding> {
    let until = Instant::now() + within;
    let mut look = match Box::pin(Look::open(&config.access, until)).await {
        Ok(look) => look,
        Err(reason) => return vec![Finding::bad(CONNECTION, reason)],
    };
    let info = look.client.server_info();
    let connected = format!("connected to {}, version {}", info.server_name, info.version);
    let mut findings = vec![Finding::good(CONNECTION, connected)];
    findings.extend(match &config.stream {
        None => look.at_subjects(&config.subjects).await,
        Some(stream) => {
            let found = timeout_at(until, Box::pin(jetstream::look::at(look.client.clone(), stream))).await;
            let late = |_| vec![Finding::bad(format!("nats: stream {}", stream.stream), LATE)];
            look.explain(found.unwrap_or_else(late))
        }
    });
    findings
}

/// A connection, and what the server says of it.
struct Look {
    client: Client,
    events: mpsc::Receiver<Event>,
    /// What the server has refused.
    refused: Vec<String>,
    until: Instant,
}

impl Look {
    /// Connects. Fails with the reason.
    async fn open(access: &NatsAccess, until: Instant) -> Result<Self, String> {
        let servers = access.addresses().map_err(in_words)?;
        let names = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        let (sender, events) = mpsc::channel(EVENTS);
        let options = access.options().await.map_err(in_words)?;
        let options = options.name("rig check").subscription_capacity(MESSAGES);
        let options = options.event_callback(move |event| {
            if !matches!(event, Event::SlowConsumer(_)) {
                drop(sender.try_send(event));
            }
            ready(())
        });
        let client = Box::pin(options.connect(servers)).await.map_err(in_words)?;
        let mut look = Self { client, events, refused: Vec::new(), until };
        let failure = match timeout_at(until - CAUSES, look.connected()).await {
            Ok(Ok(())) => return Ok(look),
            Ok(Err(reason)) => reason,
            Err(_) => LATE.to_owned(),
        };
        if failure.contains("authorization") {
            return Err(format!("{failure} (NATS_USER, NATS_TOKEN, NATS_CREDS, NATS_NKEY)"));
        }
        let failure = failure.trim_start_matches("nats: ");
        let causes = timeout_at(until, causes(names)).await.unwrap_or_else(|_| LATE.to_owned());
        Err(format!("{failure}: {causes}"))
    }

    async fn connected(&mut self) -> Result<(), String> {
        loop {
            match self.events.recv().await {
                Some(Event::Connected) => return Ok(()),
                // It comes when all servers were tried, or when one has refused the credentials.
                Some(Event::ClientError(error)) => return Err(error.to_string()),
                Some(_) => {}
                None => return Err("the client of NATS has stopped".to_owned()),
            }
        }
    }

    /// Looks whether the subjects may be subscribed to.
    async fn at_subjects(&mut self, subjects: &[String]) -> Vec<Finding> {
        let failure = match timeout_at(self.until, self.subscribe(subjects)).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(_) => Some(LATE.to_owned()),
        };
        let finding = |subject: &String| {
            let quoted = format!("\"{subject}\"");
            let refused = self.refused.iter().find(|refused| refused.contains(&quoted));
            let result = refused.or(failure.as_ref()).map_or(Ok("may be subscribed to"), Err);
            Finding::new(format!("nats: subject {subject}"), result)
        };
        subjects.iter().map(finding).collect()
    }

    /// Subscribes to the subjects, and waits until the server has answered all that.
    async fn subscribe(&mut self, subjects: &[String]) -> Result<(), String> {
        let mut subscribed = Vec::new();
        for subject in subjects {
            subscribed.push(self.client.subscribe(subject.clone()).await.map_err(in_words)?);
        }
        // The server handles all in order. So everything is answered once this message is back, or
        // is refused.
        let inbox = self.client.new_inbox();
        let mut echo = self.client.subscribe(inbox.clone()).await.map_err(in_words)?;
        self.client.publish(inbox.clone(), "".into()).await.map_err(in_words)?;
        loop {
            tokio::select! {
                _ = echo.next() => break,
                event = self.events.recv() => match event {
                    Some(Event::ServerError(error)) if error.to_string().contains(&inbox) => break,
                    Some(event) => self.note(event)?,
                    None => self.note(Event::Closed)?,
                }
            }
        }
        // Its event follows those of all that was refused.
        self.client.drain().await.map_err(in_words)?;
        loop {
            match self.events.recv().await {
                None | Some(Event::Draining | Event::Closed) => return Ok(()),
                Some(event) => self.note(event)?,
            }
        }
    }

    fn note(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ServerError(ServerError::Other(refused)) => self.refused.push(refused),
            Event::Disconnected | Event::Closed => return Err("the connection is lost".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Adds to each failure what the server has refused meanwhile: it does not answer what it does
    /// not permit.
    fn explain(&mut self, mut findings: Vec<Finding>) -> Vec<Finding> {
        while let Ok(event) = self.events.try_recv() {
            drop(self.note(event));
        }
        for Finding { result, .. } in &mut findings {
            if let (Err(reason), false) = (result, self.refused.is_empty()) {
                *reason = format!("{reason}; {}", self.refused.join("; "));
            }
        }
        findings
    }
}

/// Returns what the servers say, or why they do not.
async fn causes(names: Vec<String>) -> String {
    let asked = names.iter().take(ASKED);
    let causes = asked.map(async |name| format!("{name}: {}", cause(name, CERTIFICATES).await));
    join_all(causes).await.join("; ")
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}
