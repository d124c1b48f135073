//! What the consumer of the source reports beside what any client does: rebalances, and how far
//! behind it is.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::Node;
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::{Partition as PartitionStatistics, Statistics};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::time::timeout;

use super::blocking::{blocking, wait};
use super::ends::{self, Beginning};
use super::offsets::{Offsets, Partition};
use super::{Link, NAME};
use crate::intake::Feed;
use crate::metrics::Metrics;

/// How long a rebalance may wait for what was taken of partitions that are revoked. The others of
/// the group read nothing of them meanwhile.
const FLUSH: Duration = Duration::from_secs(1);

/// Watches the consumer of the source.
pub(super) struct Observer {
    link: Link,
    metrics: Metrics,
    feeds: Arc<[Feed]>,
    offsets: Arc<Offsets>,
    /// Where messages are published; `None` if none is to be received.
    node: Option<Node>,
    /// What a group needs that does not begin at the beginning of a partition.
    beginning: Option<Arc<Beginning>>,
    is_paused: AtomicBool,
    /// The partitions whose lag is shown.
    shown: Mutex<HashSet<Partition>>,
}

impl Observer {
    pub(super) fn new(
        link: Link,
        metrics: Metrics,
        feeds: Arc<[Feed]>,
        offsets: Arc<Offsets>,
        node: Option<Node>,
        beginning: Option<Arc<Beginning>>,
    ) -> Self {
        let (is_paused, shown) = Default::default();
        Self { link, metrics, feeds, offsets, node, beginning, is_paused, shown }
    }

    /// Sets whether partitions that are assigned from now on are paused at once.
    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Looks which topics there are. Returns whether that is known. Blocks on network I/O.
    pub(super) fn look(&self, consumer: &impl Consumer<Self>) -> bool {
        let looked = self.beginning.as_ref().map_or(Ok(()), |beginning| beginning.look(consumer));
        looked.inspect_err(|error| self.link.warn("topics", error)).is_ok()
    }

    /// Stores how far these partitions were taken, as far as that is flushed in time: the library
    /// commits it before others get them, who would read the rest again.
    fn store(&self, consumer: &BaseConsumer<Self>, partitions: &[Partition]) {
        let batch = self.offsets.unstored_of(|partition| partitions.contains(&partition));
        if !batch.is_empty() && self.is_flushed() {
            let flushed = self.offsets.flushed(batch);
            if let Err(error) = store(consumer, &self.feeds, &flushed) {
                self.link.warn("store", &error);
            }
        }
    }

    /// Returns whether what was taken until now was flushed in time.
    fn is_flushed(&self) -> bool {
        let flushed =
            self.node.as_ref().and_then(|node| wait(async { timeout(FLUSH, node.flushed()).await }));
        flushed.is_some_and(|flushed| flushed.is_ok())
    }

    fn position(&self, topic: &str) -> Option<usize> {
        self.feeds.iter().position(|feed| *feed.topic == *topic)
    }

    /// Shows how far behind each partition is, and no longer those that this node does not have.
    fn show(&self, statistics: &Statistics) {
        let mut shown = self.shown.lock();
        let mut gone = std::mem::take(&mut *shown);
        for (topic, found) in &statistics.topics {
            let Some(topic) = self.position(topic) else { continue };
            for (number, partition) in &found.partitions {
                if let Some(lag) = lag(partition) {
                    self.metrics.behind(&self.feeds[topic].topic, *number, lag);
                    gone.remove(&(topic, *number));
                    shown.insert((topic, *number));
                }
            }
        }
        for (topic, number) in gone {
            self.metrics.not_behind(&self.feeds[topic].topic, number);
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        for (topic, number) in self.shown.get_mut().drain() {
            self.metrics.not_behind(&self.feeds[topic].topic, number);
        }
    }
}

/// Stores how far partitions were taken, to be committed.
///
/// # Errors
/// Fails if one of them is not assigned any more.
pub(super) fn store(
    consumer: &impl Consumer<Observer>,
    feeds: &[Feed],
    taken: &[(Partition, i64)],
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::with_capacity(taken.len());
    for ((topic, partition), next) in taken {
        list.add_partition_offset(&feeds[*topic].topic, *partition, Offset::Offset(*next))?;
    }
    consumer.store_offsets(&list)
}

/// Returns the number of messages that are not taken, or not stored as such; `None` if it is not
/// known, or the partition is another node's.
fn lag(partition: &PartitionStatistics) -> Option<i64> {
    // Up to here, all transactions have ended.
    let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
    let reached = match partition.stored_offset {
        stored @ 0.. => stored,
        _ => match partition.app_offset.max(partition.committed_offset) {
            reached @ 0.. => reached,
            // Nothing was read yet.
            _ => partition.next_offset,
        },
    };
    let is_read = partition.fetch_state == "active" && partition.partition >= 0;
    (is_read && end >= 0 && reached >= 0).then(|| (end - reached).max(0))
}

impl ClientContext for Observer {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Link::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, kind: &str, text: &str) {
        // The only sign that the messages to read next are no longer there (b07).
        if kind == "OFFSET" && text.contains("offset reset") {
            let topic = text.split_whitespace().find_map(|word| self.position(word));
            self.metrics
                .reset(NAME, topic.map_or_else(|| "".into(), |topic| self.feeds[topic].topic.clone()));
        }
        self.link.log(level, kind, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.link.note(&statistics);
        self.show(&statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.link.generate_oauth_token(config)
    }
}

impl ConsumerContext for Observer {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                self.metrics.rebalanced();
                self.link.set_refused(false);
                if let Some(beginning) = &self.beginning
                    && let Err(error) = blocking(|| ends::find(consumer, beginning, assigned))
                {
                    self.link.warn("end", &error);
                }
            }
            Rebalance::Revoke(revoked) => {
                let elements = revoked.elements();
                let place = |element: &TopicPartitionListElem<'_>| {
                    Some((self.position(element.topic())?, element.partition()))
                };
                let partitions: Vec<_> = elements.iter().filter_map(place).collect();
                self.store(consumer, &partitions);
                partitions.into_iter().for_each(|partition| self.offsets.forget(partition));
            }
            Rebalance::Error(error) => self.link.warn("rebalance", error),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(assigned) = rebalance else { return };
        if self.is_paused.load(Ordering::Relaxed)
            && let Err(error) = consumer.pause(assigned)
        {
            self.link.warn("pause", &error);
        }
        if self.beginning.is_some()
            && let Err(error) = ends::store(consumer, assigned)
        {
            self.link.warn("store", &error);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        use rdkafka::error::RDKafkaErrorCode::NoOffset;
        match result {
            Err(error) if error.rdkafka_error_code() != Some(NoOffset) => self.link.warn("commit", &error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_is_not_stored() {
        let mut partition = PartitionStatistics {
            fetch_state: "active".to_owned(),
            ls_offset: -1,
            hi_offset: 10,
            stored_offset: -1001,
            app_offset: 4,
            committed_offset: -1001,
            next_offset: 5,
            ..PartitionStatistics::default()
        };
        assert_eq!(lag(&partition), Some(6), "nothing is stored yet, or ever");
        partition.app_offset = -1001;
        partition.next_offset = 10;
        assert_eq!(lag(&partition), Some(0), "it begins at the end");
        partition.stored_offset = 3;
        assert_eq!(lag(&partition), Some(7));
        partition.ls_offset = 8;
        assert_eq!(lag(&partition), Some(5), "a transaction has not ended");
        partition.hi_offset = -1001;
        partition.ls_offset = -1001;
        assert_eq!(lag(&partition), None, "the end is not known");
        partition.hi_offset = 2;
        assert_eq!(lag(&partition), Some(0));
        partition.fetch_state = "none".to_owned();
        assert_eq!(lag(&partition), None, "another node has it");
    }
}
