//! Where a group begins in partitions of which it has stored nothing, if that is their end.
//!
//! The end is stored at once. Otherwise, whoever has the partition next would begin at the end as
//! it is then, and what is written until then would be missed.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

/// How long the questions to the brokers may take. Nothing is received until then.
const WITHIN: Duration = Duration::from_secs(5);

/// Sets where to begin in the partitions of which the group has stored nothing. To be called before
/// they are assigned. Blocks on network I/O.
///
/// # Errors
/// Fails if the brokers do not answer in time. The library then finds where to begin in the others.
pub(super) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
) -> KafkaResult<()> {
    let deadline = Instant::now() + WITHIN;
    let stored = consumer.committed_offsets(assigned.clone(), WITHIN)?;
    for mut element in assigned.elements() {
        let found = stored.find_partition(element.topic(), element.partition());
        if found.is_none_or(|found| found.error().is_err() || found.offset() != Offset::Invalid) {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let (_, end) = consumer.fetch_watermarks(element.topic(), element.partition(), left)?;
        element.set_offset(Offset::Offset(end))?;
    }
    Ok(())
}

/// Stores where it begins, and commits them in the background. What cannot be committed at
/// present is tried again with all that is stored. To be called after they are assigned.
///
/// # Errors
/// Fails if the library has not noted them.
pub(super) fn store<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
) -> KafkaResult<()> {
    let mut ends = TopicPartitionList::new();
    for element in assigned.elements() {
        if let end @ Offset::Offset(_) = element.offset() {
            ends.add_partition_offset(element.topic(), element.partition(), end)?;
        }
    }
    if ends.count() == 0 {
        return Ok(());
    }
    consumer.store_offsets(&ends)?;
    consumer.commit_consumer_state(CommitMode::Async)
}
