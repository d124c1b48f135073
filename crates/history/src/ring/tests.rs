use std::sync::Arc;
use std::time::{Duration, Instant};

use event::Event;
use serde_json::{Value, json};
use subscription::{Extractors, Subscription};

use super::*;
use crate::gap::Gap;
use crate::keys::Selection;

mod absent;
mod added;
mod bounds;
mod following;
mod gaps;
mod model;
mod not_kept;
mod property;

/// A ring whose time the test moves.
pub(crate) struct World {
    pub(crate) ring: Ring,
    pub(crate) extractors: Arc<Extractors>,
    pub(crate) now: Instant,
}

/// Types with three fields, with one, and without; the last one is excluded.
pub(crate) const TYPES: [&str; 4] = ["order", "greeting", "plain", "noise"];

pub(crate) const AGE: Duration = Duration::from_secs(2);

pub(crate) fn bounds() -> Bounds {
    Bounds { age: AGE, bytes: 1 << 20, events: 10_000, excluded: vec!["noise".to_owned()] }
}

pub(crate) fn extractors() -> Arc<Extractors> {
    let field = |at: u32, name: &str| json!({"stable_field_index": at, "event": {"json_pointer": format!("/data/{name}")}});
    let document = json!({
        "order": {"shop": field(1, "shop"), "user": field(0, "user"), "name": field(2, "name")},
        "greeting": {"name": field(0, "name")},
        "noise": {"name": field(0, "name")},
    });
    Arc::new(Extractors::from_json(&document.to_string()).unwrap())
}

pub(crate) fn event(event_type: &str, data: &Value) -> Event {
    let json = json!({"specversion": "0.2", "type": event_type, "id": "1", "data": data});
    Event::from_json(json.to_string().into()).unwrap()
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let now = Instant::now();
        Self { ring: Ring::new(bounds, now), extractors: extractors(), now }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        while self.ring.evict(self.now) {}
    }

    pub(crate) fn push_event(&mut self, event: &Event) -> EventPosition {
        let values = self.extractors.values(event.event_type(), event.json());
        let keyed = self.ring.keys().clone();
        self.ring.push(keyed.of_event(event, &values), self.now)
    }

    pub(crate) fn push(&mut self, event_type: &str, data: &Value) -> EventPosition {
        self.push_event(&event(event_type, data))
    }

    pub(crate) fn select(&self, list: &Value) -> Selection {
        let list = Subscription::parse_list(list, &self.extractors).unwrap();
        self.ring.keys().select(&list, &self.extractors)
    }

    /// Returns the positions of what was missed.
    pub(crate) fn since(&mut self, cursor: EventPosition, list: &Value) -> Result<Vec<u64>, Gap> {
        let selection = self.select(list);
        let missed = self.ring.since(cursor, selection, &[], ResumeLimits::default(), self.now);
        missed.map(|missed| missed.iter().map(|kept| kept.position.0).collect())
    }
}

pub(crate) fn all(event_type: &str) -> Value {
    json!([{"eventType": event_type}])
}
