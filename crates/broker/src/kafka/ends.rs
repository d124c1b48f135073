//! Where a group begins in partitions of which it has stored nothing, if that is not the beginning.
//!
//! A partition that was there when its topic was first seen begins at its end. One that appeared
//! later, or whose topic the group has read before, begins at the first message that was written
//! since some minutes before that: what is written until it is assigned is not missed.
//!
//! Where it begins is stored at once. Otherwise, whoever has the partition next would begin at the
//! end as it is then, and what is written until then would be missed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

/// How long each step of the questions to the brokers may take. Nothing is received until then.
const WITHIN: Duration = Duration::from_secs(5);

/// How long the question for the leaders of a topic may take, which any broker answers.
const METADATA: Duration = Duration::from_millis(1250);

/// How far the clock of who writes a message may be behind the one of this node.
const CLOCKS: Duration = Duration::from_secs(300);

/// A topic and the number of a partition of it.
pub(super) type Place = (Arc<str>, i32);

/// What is known of topics since this process has begun to read them. Outlives a consumer.
pub(super) struct Beginning {
    pub(super) topics: Vec<Arc<str>>,
    pub(super) seen: Mutex<HashMap<Arc<str>, Seen>>,
    /// Where partitions began that are read without a group.
    pub(super) starts: Mutex<HashMap<Place, i64>>,
}

/// What was seen of a topic when it was seen for the first time, or missing for the last time.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// The number of its partitions; 0 if it did not exist.
    pub(super) first: i32,
    /// Since when messages of partitions that appear later are read, in milliseconds of Unix time.
    pub(super) since: i64,
}

impl Beginning {
    pub(super) fn new(topics: Vec<Arc<str>>) -> Self {
        let (seen, starts) = Default::default();
        Self { topics, seen, starts }
    }

    /// Notes the number of partitions of a topic; 0 if it does not exist.
    pub(super) fn note(&self, topic: &Arc<str>, found: i32) -> Seen {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(CLOCKS).as_millis().try_into().unwrap_or(i64::MAX);
        let mut all = self.seen.lock();
        let seen = all.entry(topic.clone()).or_insert(Seen { first: found, since });
        if found == 0 {
            *seen = Seen { first: 0, since };
        }
        *seen
    }

    /// Looks how many partitions each topic has. Blocks on network I/O.
    ///
    /// # Errors
    /// Fails with the first error after all topics were looked at.
    pub(super) fn look<C: ConsumerContext>(&self, consumer: &impl Consumer<C>) -> KafkaResult<()> {
        let (deadline, mut looked) = (Instant::now() + WITHIN, Ok(()));
        for topic in &self.topics {
            match partitions(consumer, topic, left(deadline)) {
                Ok(found) => {
                    self.note(topic, found);
                }
                Err(error) => looked = looked.and(Err(error)),
            }
        }
        looked
    }

    fn seen(&self, topic: &str) -> Option<Seen> {
        self.seen.lock().get(topic).copied()
    }

    fn is_complete(&self) -> bool {
        self.seen.lock().len() == self.topics.len()
    }
}

/// Returns the number of partitions of a topic; 0 if it does not exist. Blocks on network I/O.
///
/// # Errors
/// Fails if no broker answers in time, or the topic may not be read.
pub(super) fn partitions<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topic: &str,
    within: Duration,
) -> KafkaResult<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), within)?;
    let topic = metadata.topics().iter().find(|found| found.name() == topic);
    match topic.map(|topic| (topic.error().map(RDKafkaErrorCode::from), topic.partitions().len())) {
        Some((None, count)) => Ok(count.try_into().unwrap_or(i32::MAX)),
        Some((Some(RDKafkaErrorCode::UnknownTopicOrPartition), _)) => Ok(0),
        Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error)),
        None => Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic)),
    }
}

/// Sets where to begin in the partitions of which the group has stored nothing. To be called before
/// they are assigned. Blocks on network I/O.
///
/// # Errors
/// Fails with the first error after all were asked for. The library then finds where to begin in
/// those of which that is not known.
pub(super) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    beginning: &Beginning,
    assigned: &TopicPartitionList,
) -> KafkaResult<()> {
    let mut found = if beginning.is_complete() { Ok(()) } else { beginning.look(consumer) };
    let mut asked = assigned.clone();
    let topics: HashSet<_> = assigned.elements().iter().map(|one| one.topic().to_owned()).collect();
    for topic in &topics {
        let count = beginning.seen(topic).map_or(0, |seen| seen.first);
        for number in (0..count).filter(|number| assigned.find_partition(topic, *number).is_none()) {
            asked.add_partition(topic, number);
        }
    }
    let stored = consumer.committed_offsets(asked, WITHIN)?;
    let all = stored.elements();
    let read = all.iter().filter(|one| matches!(one.offset(), Offset::Offset(_)));
    let read: HashSet<_> = read.map(|one| one.topic()).collect();
    let mut elements = assigned.elements();
    elements.retain(|element| {
        let found = stored.find_partition(element.topic(), element.partition());
        found.is_some_and(|found| found.error().is_ok() && found.offset() == Offset::Invalid)
    });

    let (mut ends, mut later) = (TopicPartitionList::new(), TopicPartitionList::new());
    for element in &elements {
        let (topic, partition) = (element.topic(), element.partition());
        ends.add_partition_offset(topic, partition, Offset::End)?;
        if let Some(seen) = beginning.seen(topic)
            && (partition >= seen.first || read.contains(topic))
        {
            later.add_partition_offset(topic, partition, Offset::Offset(seen.since))?;
        }
    }
    // The offsets of the end first: what is written after they were asked for is not missed.
    let mut begins = ask(consumer, &ends, &mut found);
    for (place, first) in ask(consumer, &later, &mut found) {
        begins.entry(place).and_modify(|end| *end = first.min(*end)).or_insert(first);
    }
    for element in &mut elements {
        if let Some(begin) = begins.get(&(element.topic().to_owned(), element.partition())) {
            element.set_offset(Offset::Offset(*begin))?;
        }
    }
    found
}

/// Returns the offsets for some times, as far as there are any. Asks one leader of partitions after
/// the other, and gives each its share of the time: one that does not answer holds up no others.
fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    times: &TopicPartitionList,
    asked: &mut KafkaResult<()>,
) -> HashMap<(String, i32), i64> {
    let deadline = Instant::now() + WITHIN;
    let mut fail = |error| {
        if asked.is_ok() {
            *asked = Err(error);
        }
    };
    let times = times.elements();
    let topics: HashSet<_> = times.iter().map(|one| one.topic()).collect();
    let mut leaders = HashMap::new();
    for topic in topics {
        match consumer.fetch_metadata(Some(topic), left(deadline).min(METADATA)) {
            Ok(metadata) => {
                let found = metadata.topics().iter().flat_map(|found| found.partitions());
                leaders.extend(found.map(|found| ((topic, found.id()), found.leader())));
            }
            Err(error) => fail(error),
        }
    }
    let mut questions: BTreeMap<i32, TopicPartitionList> = BTreeMap::new();
    for one in &times {
        // The library may know a leader that was not told here.
        let leader = leaders.get(&(one.topic(), one.partition())).copied().unwrap_or(-1);
        let question = questions.entry(leader).or_default();
        if let Err(error) = question.add_partition_offset(one.topic(), one.partition(), one.offset()) {
            fail(error);
        }
    }
    let (mut count, mut offsets) = (questions.len(), HashMap::new());
    for question in questions.into_values() {
        let share = left(deadline) / u32::try_from(count).unwrap_or(u32::MAX);
        count -= 1;
        match consumer.offsets_for_times(question, share) {
            Ok(answer) => {
                for one in answer.elements() {
                    match (one.error(), one.offset()) {
                        (Ok(()), Offset::Offset(offset)) => {
                            offsets.insert((one.topic().to_owned(), one.partition()), offset);
                        }
                        // No message was written since then.
                        (Ok(()), _) => {}
                        (Err(error), _) => fail(error),
                    }
                }
            }
            Err(error) => fail(error),
        }
    }
    offsets
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
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

#[cfg(test)]
mod tests {
    use rig_tests::{KafkaMessage, KafkaServer};

    use super::*;
    use crate::kafka::{KafkaAccess, Link};

    fn consumer(server: &KafkaServer) -> BaseConsumer<Link> {
        let access = KafkaAccess {
            brokers: vec![server.address().to_string()],
            tls: None,
            sasl: None,
            restart_delay: Duration::from_secs(1),
            properties: Vec::new(),
        };
        let link = Link::new(&access, "test");
        access.client().set("group.id", "group").create_with_context(link).unwrap()
    }

    fn beginning(topics: &[&str]) -> Beginning {
        Beginning::new(topics.iter().map(|topic| Arc::from(*topic)).collect())
    }

    /// Returns where partitions begin; `Invalid` if that is for the library to find.
    fn begins(consumer: &BaseConsumer<Link>, beginning: &Beginning, places: &[(&str, i32)]) -> Vec<Offset> {
        let mut assigned = TopicPartitionList::new();
        for (topic, partition) in places {
            assigned.add_partition(topic, *partition);
        }
        find(consumer, beginning, &assigned).unwrap();
        assigned.elements().iter().map(|one| one.offset()).collect()
    }

    fn in_partition(partition: i32) -> KafkaMessage {
        KafkaMessage::of("x").partition(partition)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_appears_later_is_read_from_its_first_message() {
        let server = KafkaServer::start();
        let (client, consumer) = (server.client(), consumer(&server));
        client.create_topic("a", 1);
        client.produce("a", &[in_partition(0), in_partition(0)]);
        let beginning = beginning(&["a", "b"]);
        assert_eq!(begins(&consumer, &beginning, &[("a", 0)]), [Offset::Offset(2)], "the first start");
        client.add_partitions("a", 2);
        client.create_topic("b", 1);
        // One that knows the new partition.
        let client = server.client();
        client.produce("a", &[in_partition(1)]);
        client.produce("b", &[in_partition(0)]);
        let new = begins(&consumer, &beginning, &[("a", 1), ("b", 0)]);
        assert_eq!(new, [Offset::Offset(0); 2]);
        // As if they had appeared long after that.
        beginning.seen.lock().values_mut().for_each(|seen| seen.since += 3_600_000);
        let old = begins(&consumer, &beginning, &[("a", 1), ("b", 0)]);
        assert_eq!(old, [Offset::Offset(1); 2]);
        client.delete_topic("a");
        beginning.look(&consumer).unwrap();
        client.create_topic("a", 1);
        client.produce("a", &[in_partition(0)]);
        assert_eq!(begins(&consumer, &beginning, &[("a", 0)]), [Offset::Offset(0)], "created anew");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_partition_that_was_added_while_nobody_read_the_topic_is_read_from_what_is_new() {
        let server = KafkaServer::start();
        let (client, consumer) = (server.client(), consumer(&server));
        for topic in ["a", "b"] {
            client.create_topic(topic, 2);
            client.produce(topic, &[in_partition(0), in_partition(1)]);
        }
        client.commit("group", "a", 0, 1);
        let places = [("a", 0), ("a", 1), ("b", 0), ("b", 1)];
        let [begun, new, end, other_end] = begins(&consumer, &beginning(&["a", "b"]), &places)[..] else {
            panic!("not all");
        };
        assert_eq!(begun, Offset::Invalid, "the group has committed something");
        assert_eq!((new, end, other_end), (Offset::Offset(0), Offset::Offset(1), Offset::Offset(1)));
    }
}
