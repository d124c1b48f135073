//! What a node answers about its own order.

use bytes::Bytes;
use connection::{Gap, Series};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::message::{Answer, MissedBy, MissedEvent, MissedEvents, Question, WireStamp, from_wire, on_wire};
use super::{CATCH_UP, KNOWN};
use crate::node::Node;

/// Bytes of an answer beside its events, and beside the JSON of each.
const FRAME: usize = 64 << 10;
const EVENT_FRAME: usize = 128;

impl Node {
    /// Answers a question about the order of this node; with nothing if it cannot be read.
    pub(crate) async fn answer_elsewhere(self, question: Bytes) -> Bytes {
        let answer = match serde_json::from_slice(&question) {
            Ok(Question::Series(series)) => Answer::Series(self.hub().is_series(Series::from_bits(series))),
            Ok(Question::Missed(missed_by)) => {
                self.missed_here(missed_by).await.map_or_else(Answer::gap, Answer::Missed)
            }
            Ok(Question::Heads(buckets)) => {
                self.bus().inspect(|bus| bus.send_heads(buckets));
                Answer::Done
            }
            Ok(Question::Numbers(buckets)) => {
                let given = self.bus().map_or_else(Vec::new, |bus| bus.own_stamps(&buckets));
                Answer::Numbers(given.into_iter().map(|stamp| (stamp.bucket, stamp.number)).collect())
            }
            Err(error) => {
                tracing::debug!(%error, "a question of another node cannot be read");
                return Bytes::new();
            }
        };
        answer.to_bytes()
    }

    async fn missed_here(&self, missed_by: MissedBy) -> Result<MissedEvents, Gap> {
        let MissedBy { cursor, subscriptions, reached } = missed_by;
        let subscriptions = self.hub().read_subscriptions(&subscriptions)?;
        let types = subscriptions.iter().map(|subscription| subscription.event_type());
        let buckets = self.buckets_of(types).ok_or(Gap::Elsewhere)?;
        let is_known = !self.ledger().is_crowded(&buckets);
        if !is_known || !self.reach(&from_wire(&reached), Instant::now() + CATCH_UP).await {
            return Err(Gap::Elsewhere);
        }
        let bytes = self.max_peer_bytes().saturating_sub(FRAME) / 2;
        let limits = (bytes / EVENT_FRAME, bytes);
        let reached = || self.reached(&buckets, Some(2 * KNOWN));
        let missed = self.hub().missed(&cursor, &subscriptions, limits, reached)?;
        if !self.ledger().is_stamped_since(missed.cursor, &buckets) {
            return Err(Gap::Elsewhere);
        }
        let stamps = self.ledger().stamps_at(missed.events.iter().map(|(_, kept)| kept.position));
        let events = missed.events.into_iter().zip(stamps).map(|((id, kept), stamp)| {
            let json = String::from_utf8(kept.json.into()).ok();
            let event = json.and_then(|json| RawValue::from_string(json).ok()).ok_or(Gap::Elsewhere)?;
            Ok(MissedEvent { id: id.to_string(), stamp: stamp.map(WireStamp), event })
        });
        Ok(MissedEvents { events: events.collect::<Result<_, Gap>>()?, reached: missed.at_head.map(on_wire) })
    }
}
