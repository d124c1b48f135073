//! What it costs to find the one subscriber of an event among many that wait for other values of
//! the same field. In this process, with the gateway's own library and allocator.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use event::Event;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;
use subscription::{Extractors, Index, Subscription};

use super::random::Random;
use crate::process::ResidentSet;

/// Events of each run.
const EVENTS: u64 = 100_000;

/// The field that all constrain.
const EXTRACTORS: &str = r#"{"message":{"to":{"stable_field_index":0,"event":{"json_pointer":"/data/to"}}}}"#;

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filter {
    pub(crate) subscriptions: u64,
    /// CPU time to find the subscriber of an event, from its bytes, whose envelope has been read.
    pub(crate) microseconds: f64,
    /// Resident set with all subscriptions less without any.
    pub(crate) bytes_per_subscription: f64,
}

/// Measures.
///
/// # Errors
/// An event finds another subscriber than its own.
pub(crate) fn run(subscriptions: u64) -> anyhow::Result<Filter> {
    let this = std::process::id();
    let extractors = Arc::new(Extractors::from_json(EXTRACTORS)?);
    let index: Arc<Index<Weak<u64>>> = Index::new(extractors.clone());
    // A number stands for a connection, of which the index holds a weak reference.
    let subscribers: Vec<Arc<u64>> = (0..subscriptions).map(Arc::new).collect();
    let before = ResidentSet::of(this)?;
    let mut interests = Vec::with_capacity(subscribers.len());
    for subscriber in &subscribers {
        let wanted = json!([{ "eventType": "message", "oneOf": [{ "to": name(**subscriber) }] }]);
        let wanted = Subscription::parse_list(&wanted, &extractors)?;
        interests.push(index.subscribe(Arc::downgrade(subscriber), &wanted));
    }
    let bytes = ResidentSet::of(this)?.rss_kib.saturating_sub(before.rss_kib) * 1024;

    let mut random = Random::new(subscriptions);
    let (mut cpu, mut found) = (Duration::ZERO, Vec::new());
    // By parts: events and what they find should not fill the caches instead of the index.
    for _ in 0..EVENTS / 1000 {
        let wanted: Vec<_> = (0..1000).map(|_| random.below(subscriptions)).collect();
        let events = wanted.iter().map(|number| message(*number)).collect::<anyhow::Result<Vec<_>>>()?;
        let start = thread_time();
        found.extend(events.iter().map(|event| index.matches(event)));
        cpu += thread_time() - start;
        for (found, wanted) in found.drain(..).zip(wanted) {
            let only = found.first().and_then(Weak::upgrade).context("no subscriber is found")?;
            anyhow::ensure!(found.len() == 1 && *only == wanted, "{found:?} for {wanted}");
        }
    }
    Ok(Filter {
        subscriptions,
        microseconds: cpu.as_secs_f64() * 1e6 / EVENTS as f64,
        bytes_per_subscription: bytes as f64 / subscriptions as f64,
    })
}

/// A name as users have them.
fn name(number: u64) -> String {
    format!("user-{number:08}@example.com")
}

/// An event of some 256 bytes for that user.
fn message(to: u64) -> anyhow::Result<Event> {
    let event = json!({
        "specversion": "1.0", "type": "message", "source": "/bench", "id": to.to_string(),
        "data": { "text": "x".repeat(130), "to": name(to) },
    });
    Ok(Event::from_json(event.to_string().into())?)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
