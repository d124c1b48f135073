//! Delivery with virtual time, to recipients that follow a script.

mod delivering;
mod web;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use journal::{Change, ChangeKind, MemoryOutbox};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
use session::{Clock, NodeName};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{Delivery, Event, Failure, Metrics, Recipient, Source, To};

/// Tokio's clock, which tests pause.
struct Paused;

impl Clock for Paused {
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// What a recipient does with an event.
#[derive(Clone, Debug)]
enum Answer {
    Takes,
    Fails(&'static str),
    Asks(u64),
    Hangs(u64),
    Panics,
}

/// Follows a script, then always answers the same, and notes what it is asked.
struct Scripted {
    script: Mutex<(VecDeque<Answer>, Answer)>,
    /// When each event came, in seconds since the start, and its `sequence`.
    seen: Mutex<Vec<(u64, u64)>>,
    taken: Mutex<Vec<Value>>,
    began: Instant,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Answer>, then: Answer) -> Arc<Self> {
        let script = Mutex::new((script.into_iter().collect(), then));
        Arc::new(Self { script, seen: Mutex::default(), taken: Mutex::default(), began: Instant::now() })
    }

    /// Has it answer like this from now on.
    fn now(&self, answer: Answer) {
        *self.script.lock() = (VecDeque::new(), answer);
    }

    fn times(&self) -> Vec<u64> {
        self.seen.lock().iter().map(|(at, _)| *at).collect()
    }

    /// Returns the numbers of the events that it has taken.
    fn taken(&self) -> Vec<u64> {
        self.taken.lock().iter().map(number).collect()
    }
}

fn number(event: &Value) -> u64 {
    event["sequence"].as_str().and_then(|text| text.parse().ok()).expect("a number")
}

impl Recipient for Scripted {
    fn send<'r>(&'r self, event: &'r Event) -> BoxFuture<'r, Result<(), Failure>> {
        async move {
            let value: Value = serde_json::from_slice(&event.body).unwrap();
            self.seen.lock().push((self.began.elapsed().as_secs(), number(&value)));
            let answer = {
                let (script, then) = &mut *self.script.lock();
                script.pop_front().unwrap_or_else(|| then.clone())
            };
            match answer {
                Answer::Takes => {}
                Answer::Fails(cause) => return Err(Failure::new(cause)),
                Answer::Asks(seconds) => {
                    let retry_after = Some(Duration::from_secs(seconds));
                    return Err(Failure { retry_after, ..Failure::new("status 429") });
                }
                Answer::Hangs(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                Answer::Panics => panic!("as the script says"),
            }
            self.taken.lock().push(value);
            Ok(())
        }
        .boxed()
    }
}

/// A delivery that runs.
struct Running {
    outbox: Arc<MemoryOutbox>,
    delivery: Arc<Delivery>,
    registry: Registry,
    task: JoinHandle<()>,
}

impl Running {
    fn start(recipient: Arc<dyn Recipient>) -> Self {
        Self::over(Arc::new(MemoryOutbox::with_clock(Paused)), recipient)
    }

    fn over(outbox: Arc<MemoryOutbox>, recipient: Arc<dyn Recipient>) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let source = Source::new(&NodeName::from("a"));
        let delivery = Arc::new(Delivery::new(To::Hook, outbox.clone(), recipient, source, metrics.clone()));
        Delivery::watch(&metrics, std::slice::from_ref(&delivery));
        let running = delivery.clone();
        let task = tokio::spawn(async move { match running.run().await {} });
        Self { outbox, delivery, registry, task }
    }

    fn add(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.outbox.add(change(number));
        }
    }

    fn metric(&self, line: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{line}:\n{text}"))
    }

    fn events(&self, result: &str) -> f64 {
        self.metric(&format!("rig_hook_events_total{{to=\"hook\",result=\"{result}\"}}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn change(sequence: u64) -> Change {
    Change {
        sequence,
        id: sequence.into(),
        kind: ChangeKind::Accepted,
        at: SystemTime::UNIX_EPOCH,
        age: Duration::ZERO,
        dropped: 0,
        data: format!(r#"{{"id":"r{sequence}"}}"#),
    }
}

/// Lets this time pass.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
