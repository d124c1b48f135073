//! What is known of a connection to NATS from its events: whether there is one, and what the server
//! has refused. Logs what goes wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::nats::{AccessError, NatsAccess, cause, pause};
use async_nats::connection::State;
use async_nats::{Client, ClientError, Event};
use futures_util::future::{join_all, ready};
use parking_lot::Mutex;
use telemetry::Told;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How often the server is asked for a sign of life. The library closes the connection when two are
/// unanswered and the next is due.
const PING: Duration = Duration::from_secs(10);

/// Limit of the pause between two attempts to connect.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// A connection that was lost within this time counts as an attempt that has failed: something
/// closes it again and again.
const SHORT: Duration = Duration::from_secs(5);

/// How often to look whether there is a connection: the library says that there is one just before
/// it counts as connected, and drops what it says while too much of it is unread.
const LOOK: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

/// Limit of servers that are asked for the cause.
const CAUSES: usize = 8;

/// The settings of certificates.
const CERTIFICATES: &str = "NATS_CA and NATS_CERT";

/// How long a subject to send to counts as refused, and when to subscribe again to one that was
/// refused: permissions may change without a new connection.
const REFUSED: Duration = Duration::from_secs(10);

/// How long a subscription counts as refused: it is refused again before that, or not any more.
const DEAF: Duration = Duration::from_secs(15);

/// Limit of subjects that are remembered as refused. All are forgotten at the limit, and come back.
const REFUSALS: usize = 1024;

/// What is known of one connection.
pub(super) struct Link {
    told: Arc<Told>,
    /// The addresses of the servers, as `host:port`.
    servers: Vec<String>,
    seen: watch::Sender<Seen>,
    /// The subjects to which a subscription was refused since it was connected, and when.
    deaf: Mutex<HashMap<String, Instant>>,
    /// The subjects to which a message was refused, and when.
    refused: Mutex<HashMap<String, Instant>>,
    /// How many clients were opened, and the last of them whose task has ended.
    opened: AtomicU64,
    ended: AtomicU64,
}

/// What the events have said.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    is_connected: bool,
    /// When it was connected last.
    since: Option<Instant>,
}

/// Tells when it is dropped that the task of the library has ended.
struct Task(Arc<Link>, u64);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.ended.fetch_max(self.1, Ordering::Relaxed);
    }
}

impl Link {
    /// Returns a link without a connection. Those that share `told` repeat nothing of each other in
    /// the log.
    ///
    /// # Errors
    /// Fails if the addresses of the servers cannot be used.
    pub(super) fn new(access: &NatsAccess, told: Arc<Told>) -> Result<Self, AccessError> {
        let servers = access.addresses()?;
        let servers = servers.iter().map(|server| format!("{}:{}", server.host(), server.port())).collect();
        Ok(Self {
            told,
            servers,
            seen: watch::Sender::default(),
            deaf: Mutex::default(),
            refused: Mutex::default(),
            opened: AtomicU64::default(),
            ended: AtomicU64::default(),
        })
    }

    /// Opens the connection in the background. `name` is shown by the server, and `capacity` bounds
    /// the messages of one subscription that nothing has taken yet.
    ///
    /// # Errors
    /// Fails if the access cannot be used.
    pub(super) async fn open(
        self: &Arc<Self>,
        access: &NatsAccess,
        name: &str,
        capacity: usize,
    ) -> Result<Client, AccessError> {
        let options = access.options().await?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let (task, again) = (Task(self.clone(), number), self.clone());
        let options = options
            .name(name)
            .ping_interval(PING)
            .subscription_capacity(capacity)
            .reconnect_delay_callback(move |attempts| again.pause(attempts))
            .event_callback(move |event| {
                let Task(link, _) = &task;
                link.note(&event);
                ready(())
            });
        let client = Box::pin(options.connect(access.addresses()?)).await;
        client.map_err(|error| AccessError::Refused(error.to_string()))
    }

    /// Returns whether nothing comes or goes any more: the task of the last client has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) >= self.opened.load(Ordering::Relaxed)
    }

    /// Returns whether a subscription was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.deaf.lock().values().any(|at| at.elapsed() < DEAF)
    }

    /// Returns whether a subscription to this subject was refused since then. The server has
    /// forgotten it, and may permit it later.
    pub(super) fn has_refused(&self, subject: &str, since: Instant) -> bool {
        self.deaf.lock().get(subject).is_some_and(|at| *at >= since)
    }

    /// Resolves when a subscription to this subject was refused since then, and can be tried again.
    pub(super) async fn refused(&self, subject: &str, since: Instant) {
        sleep(REFUSED).await;
        while !self.has_refused(subject, since) {
            sleep(REFUSED).await;
        }
    }

    /// Returns whether the server has lately refused a message to this subject.
    pub(super) fn refuses(&self, subject: &str) -> bool {
        self.refused.lock().get(subject).is_some_and(|at| at.elapsed() < REFUSED)
    }

    /// Waits until the client is connected. Returns what was seen then: any change from it means
    /// that this connection was lost. `None` if the task of the library has ended, so that it will
    /// never be connected.
    pub(super) async fn connected(&self, client: &Client) -> Option<Seen> {
        let mut changes = self.seen.subscribe();
        loop {
            let seen = *changes.borrow_and_update();
            if self.is_ended() {
                return None;
            }
            if client.connection_state() == State::Connected {
                return Some(seen);
            }
            let look = if seen.is_connected { LOOK[0] } else { LOOK[1] };
            // The sender lives as long as this.
            drop(timeout(look, changes.changed()).await);
        }
    }

    /// Resolves when the connection that was seen is lost.
    pub(super) async fn lost(&self, seen: Seen) {
        let _ = self.seen.subscribe().wait_for(|now| *now != seen).await;
    }

    /// Returns the pause before an attempt to connect.
    fn pause(&self, attempts: usize) -> Duration {
        let since = self.seen.borrow().since;
        let was_short = since.is_some_and(|since| since.elapsed() < SHORT);
        let least = if was_short { SHORT / 5 } else { Duration::ZERO };
        // Many gateways that have lost one server do not come back in step.
        pause(attempts, PAUSE).max(least).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    fn note(self: &Arc<Self>, event: &Event) {
        match event {
            Event::Connected => {
                self.seen.send_replace(Seen { is_connected: true, since: Some(Instant::now()) });
                self.deaf.lock().clear();
                if self.told.is_due("connected") {
                    tracing::info!("connected to NATS, the broker");
                }
            }
            Event::Disconnected => {
                self.seen.send_modify(|seen| seen.is_connected = false);
                self.warn("the connection is lost");
            }
            Event::ClientError(error) => self.explain(error),
            Event::ServerError(error) => {
                let error = error.to_string();
                for (kind, refusals) in [("subscription", &self.deaf), ("publish", &self.refused)] {
                    let Some(subject) = refused_subject(&error, kind) else { continue };
                    let mut refusals = refusals.lock();
                    if refusals.len() >= REFUSALS {
                        refusals.clear();
                    }
                    refusals.insert(subject.to_owned(), Instant::now());
                }
                self.warn(&error);
            }
            Event::SlowConsumer(_) => self.warn("more messages come than can be taken, some are lost"),
            Event::LameDuckMode | Event::Draining | Event::Closed => {}
        }
    }

    /// Tells why no connection is made, once in a minute, with what the servers say.
    fn explain(self: &Arc<Self>, error: &ClientError) {
        let error = error.to_string();
        if !self.told.is_due(&error) {
            return;
        }
        let link = self.clone();
        tokio::spawn(async move {
            let servers = link.servers.iter().take(CAUSES);
            let causes =
                servers.map(async |server| format!("{server}: {}", cause(server, CERTIFICATES).await));
            let causes = join_all(causes).await.join("; ");
            tracing::warn!(reason = error, servers = causes, "NATS, the broker");
        });
    }

    /// Tells a reason, once in a minute.
    pub(super) fn warn(&self, reason: &str) {
        if self.told.is_due(reason) {
            tracing::warn!(reason, "NATS, the broker");
        }
    }
}

/// Returns the subject to which the server has refused what is of this kind.
fn refused_subject<'e>(error: &'e str, kind: &str) -> Option<&'e str> {
    let before = format!("permissions violation for {kind} to \"");
    let start = error.to_ascii_lowercase().find(&before)? + before.len();
    error[start..].split('"').next()
}

#[cfg(test)]
mod tests {
    use ::nats::Credentials;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_not_waited_for_once_the_task_of_the_library_has_ended() {
        let access = NatsAccess {
            // Nothing listens there.
            servers: vec!["nats://127.0.0.1:1".to_owned()],
            credentials: Credentials::None,
            ca: None,
            certificate: None,
            insecure: false,
        };
        let link = Arc::new(Link::new(&access, Arc::default()).unwrap());
        let client = link.open(&access, "test", 1).await.unwrap();
        drop(Task(link.clone(), 1));
        let connected = timeout(Duration::from_secs(30), link.connected(&client)).await;
        assert!(connected.unwrap().is_none());
    }

    #[test]
    fn the_subject_of_a_refusal_is_found() {
        let refused = |error| ["publish", "subscription"].map(|kind| refused_subject(error, kind));
        for (error, expected) in [
            (r#"nats: Permissions Violation for Publish to "a.B""#, [Some("a.B"), None]),
            (r#"Permissions Violation for Subscription to "a""#, [None, Some("a")]),
            (r#"permissions violation for subscription to "a.>" using queue "q""#, [None, Some("a.>")]),
            (r#"Permissions Violation for Subscription to "a" (sid "1")"#, [None, Some("a")]),
            ("", [None, None]),
            ("nats: authorization violation", [None, None]),
        ] {
            assert_eq!(refused(error), expected, "{error}");
        }
    }
}
