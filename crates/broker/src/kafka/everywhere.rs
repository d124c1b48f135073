//! Reads topics at every node, without a group: a consumer assigns itself all partitions.
//!
//! A partition that is there when its topic is first seen is read from its end, one that appears
//! later from the first message that was written since some minutes before this has begun: nothing
//! is missed that is written once this has begun, and a topic that is only seen late, such as one
//! that was not permitted, is not read from its beginning.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::Link;
use super::ends::{Beginning, Place, Seen, partitions};

/// How often new partitions are looked for.
const EVERY: Duration = Duration::from_secs(30);

/// How often the partitions are looked for while not all are found. While brokers are away, a look
/// also takes until [`WITHIN`].
const AGAIN: Duration = Duration::from_secs(1);

/// How often in a row a topic must be missing until it counts as gone: a broker may say so wrongly.
const GONE: u32 = 3;

/// How long one question to the brokers may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Assigns the partitions of some topics to a consumer.
pub(crate) struct Everywhere<C: ConsumerContext + 'static> {
    consumer: Arc<StreamConsumer<C>>,
    link: Link,
    beginning: Arc<Beginning>,
    /// Where to go on, for partitions that an earlier consumer has read.
    resume: HashMap<Place, i64>,
    assigned: HashSet<Place>,
    /// How often in a row a topic was missing whose partitions are assigned.
    missing: HashMap<Arc<str>, u32>,
    /// Called with the name of a topic that is gone: how far it was read says nothing of the next
    /// one.
    gone: Box<dyn Fn(&str) + Send>,
}

/// Sets what a consumer without a group needs. The library wants the name of a group, which it
/// then does not join.
pub(crate) fn without_group(client: &mut ClientConfig) {
    client
        .set("group.id", "rig-without-group")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
}

impl<C: ConsumerContext + 'static> Everywhere<C> {
    /// Returns one that has assigned nothing yet. `resume` says where to go on with partitions that
    /// were read before, and `gone` is called with topics that were deleted.
    pub(super) fn new(
        consumer: Arc<StreamConsumer<C>>,
        link: Link,
        beginning: Arc<Beginning>,
        resume: HashMap<Place, i64>,
        gone: impl Fn(&str) + Send + 'static,
    ) -> Self {
        let (assigned, missing) = Default::default();
        Self { consumer, link, beginning, resume, assigned, missing, gone: Box::new(gone) }
    }

    /// Assigns all partitions, and those that appear later. Never returns. `is_ready` becomes true
    /// when everything that was there at first is assigned, and stays so.
    pub(crate) async fn keep(mut self, is_ready: watch::Sender<bool>) {
        loop {
            let looking = spawn_blocking(move || {
                let is_complete = self.look();
                (self, is_complete)
            });
            let is_complete;
            (self, is_complete) = looking.await.expect("looking for partitions does not panic");
            if is_complete {
                is_ready.send_replace(true);
            }
            sleep(if is_complete { EVERY } else { AGAIN }).await;
        }
    }

    /// Looks for partitions, and assigns those that are not. Returns whether all are assigned.
    /// Blocks on network I/O.
    fn look(&mut self) -> bool {
        let mut is_complete = true;
        for topic in self.beginning.topics.clone() {
            let found = match partitions(&*self.consumer, &topic, WITHIN) {
                Ok(found) => found,
                Err(error) => {
                    self.link.warn("metadata", &format!("{topic}: {error}"));
                    is_complete = false;
                    continue;
                }
            };
            if found > 0 {
                self.missing.remove(&topic);
            } else {
                self.link.warn("no topic", &format!("{topic}: there is no such topic"));
                if !self.is_gone(&topic) {
                    is_complete = false;
                    continue;
                }
                if let Err(error) = self.forget(&topic) {
                    self.link.warn("topic", &format!("{topic}: {error}"));
                    is_complete = false;
                    continue;
                }
            }
            let seen = self.beginning.note(&topic, found);
            for partition in 0..found {
                let place = (topic.clone(), partition);
                if !self.assigned.contains(&place)
                    && let Err(error) = self.assign(place, seen)
                {
                    self.link.warn("partition", &format!("{topic} {partition}: {error}"));
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    /// Returns whether a topic that is missing at present has none of the assigned partitions, or
    /// has been missing often enough.
    fn is_gone(&mut self, topic: &Arc<str>) -> bool {
        let missing = self.missing.entry(topic.clone()).or_default();
        *missing += 1;
        *missing >= GONE || self.assigned.iter().all(|place| place.0 != *topic)
    }

    /// Forgets the partitions of a topic that is gone: one of the same name will be another one.
    fn forget(&mut self, topic: &Arc<str>) -> Result<(), KafkaError> {
        let mut gone = TopicPartitionList::new();
        for (_, partition) in self.assigned.iter().filter(|place| place.0 == *topic) {
            gone.add_partition(topic, *partition);
        }
        if gone.count() > 0 {
            self.consumer.incremental_unassign(&gone)?;
        }
        self.assigned.retain(|place| place.0 != *topic);
        self.resume.retain(|place, _| place.0 != *topic);
        self.beginning.starts.lock().retain(|place, _| place.0 != *topic);
        (self.gone)(topic);
        Ok(())
    }

    fn assign(&mut self, place: Place, seen: Seen) -> Result<(), KafkaError> {
        let (topic, partition) = &place;
        let began = self.beginning.starts.lock().get(&place).copied();
        let from = match self.resume.get(&place).copied().or(began) {
            Some(next) => next,
            // The number, and not "the end": the library would look for that later, and what is
            // written until then would be missed. For the same reason, it is asked for first.
            None => {
                let (_, end) = self.consumer.fetch_watermarks(topic, *partition, WITHIN)?;
                let was_there = *partition < seen.first;
                let first = if was_there { None } else { self.first_since(&place, seen.since)? };
                first.map_or(end, |first| first.min(end))
            }
        };
        let mut added = TopicPartitionList::new();
        added.add_partition_offset(topic, *partition, Offset::Offset(from))?;
        self.consumer.incremental_assign(&added)?;
        self.beginning.starts.lock().insert(place.clone(), from);
        self.assigned.insert(place);
        Ok(())
    }

    /// Returns the offset of the first message of a partition that was written since then; `None`
    /// if there is none.
    fn first_since(&self, (topic, partition): &Place, since: i64) -> Result<Option<i64>, KafkaError> {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(topic, *partition, Offset::Offset(since))?;
        let found = self.consumer.offsets_for_times(times, WITHIN)?;
        let Some(found) = found.find_partition(topic, *partition) else { return Ok(None) };
        found.error()?;
        Ok(match found.offset() {
            Offset::Offset(first) => Some(first),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rig_tests::{KafkaMessage, KafkaServer};

    use super::*;
    use crate::kafka::KafkaAccess;

    fn everywhere(server: &KafkaServer, topics: &[&str], resume: HashMap<Place, i64>) -> Everywhere<Link> {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        again(server, Arc::new(Beginning::new(topics)), resume)
    }

    fn again(
        server: &KafkaServer,
        beginning: Arc<Beginning>,
        resume: HashMap<Place, i64>,
    ) -> Everywhere<Link> {
        let access = KafkaAccess {
            brokers: vec![server.address().to_string()],
            tls: None,
            sasl: None,
            restart_delay: Duration::from_secs(1),
            properties: Vec::new(),
        };
        let link = Link::new(&access, "test");
        let mut client = access.client();
        without_group(&mut client);
        let consumer = client.create_with_context(link.clone()).unwrap();
        Everywhere::new(Arc::new(consumer), link, beginning, resume, |_| ())
    }

    /// Returns the topics, partitions and offsets that are assigned.
    fn assigned(everywhere: &Everywhere<Link>) -> Vec<(String, i32, Offset)> {
        let list = everywhere.consumer.assignment().unwrap();
        let place = |topic: &str, partition| (topic.to_owned(), partition);
        let elements = list.elements();
        let mut all: Vec<_> = elements
            .iter()
            .map(|element| (place(element.topic(), element.partition()), element.offset()))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect()
    }

    fn expected(all: &[(&str, i32, Offset)]) -> Vec<(String, i32, Offset)> {
        all.iter().map(|(topic, partition, offset)| ((*topic).to_owned(), *partition, *offset)).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn partitions_begin_at_their_end_and_those_that_appear_later_at_what_is_new() {
        let server = KafkaServer::start();
        let client = server.client();
        client.create_topic("a", 2);
        client.produce("a", &[KafkaMessage::of("x").partition(0), KafkaMessage::of("x").partition(0)]);
        let resume = HashMap::from([((Arc::from("a"), 1), 0)]);
        let mut everywhere = everywhere(&server, &["a", "later"], resume);
        assert!(everywhere.look(), "a topic that does not exist is complete");
        let now = [("a", 0, Offset::Offset(2)), ("a", 1, Offset::Offset(0))];
        assert_eq!(assigned(&everywhere), expected(&now));

        client.add_partitions("a", 3);
        client.create_topic("later", 1);
        // One that knows the new partition.
        let client = server.client();
        client.produce("a", &[KafkaMessage::of("x").partition(0), KafkaMessage::of("x").partition(2)]);
        assert!(everywhere.look());
        let then = [now[0], now[1], ("a", 2, Offset::Offset(0)), ("later", 0, Offset::Offset(0))];
        assert_eq!(assigned(&everywhere), expected(&then));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_old_in_a_topic_that_is_seen_late_is_not_read() {
        let server = KafkaServer::start();
        let client = server.client();
        let mut everywhere = everywhere(&server, &["late"], HashMap::new());
        assert!(everywhere.look());
        client.create_topic("late", 1);
        client.produce("late", &[KafkaMessage::of("x"), KafkaMessage::of("x")]);
        // As if this had begun long after that.
        everywhere.beginning.seen.lock().get_mut("late").unwrap().since += 3_600_000;
        assert!(everywhere.look());
        assert_eq!(assigned(&everywhere), expected(&[("late", 0, Offset::Offset(2))]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_there_is_read_from_its_end_however_late_the_brokers_are_reached() {
        let mut server = KafkaServer::start();
        let client = server.client();
        client.create_topic("a", 1);
        client.produce("a", &[KafkaMessage::of("x")]);
        server.stop();
        let mut everywhere = everywhere(&server, &["a"], HashMap::new());
        assert!(!everywhere.look());
        assert_eq!(assigned(&everywhere), []);
        server.restart();
        let mut looks = 0;
        while !everywhere.look() {
            looks += 1;
            assert!(looks < 10, "the brokers are reached");
        }
        assert_eq!(assigned(&everywhere), expected(&[("a", 0, Offset::Offset(1))]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_next_consumer_begins_where_the_last_one_did_if_that_read_nothing() {
        let server = KafkaServer::start();
        let client = server.client();
        client.create_topic("a", 2);
        client.produce("a", &[KafkaMessage::of("x").partition(0), KafkaMessage::of("x").partition(1)]);
        let mut first = everywhere(&server, &["a"], HashMap::new());
        assert!(first.look());
        let began = [("a", 0, Offset::Offset(1)), ("a", 1, Offset::Offset(1))];
        assert_eq!(assigned(&first), expected(&began));
        client.produce("a", &[KafkaMessage::of("x").partition(0), KafkaMessage::of("x").partition(1)]);
        let resume = HashMap::from([((Arc::from("a"), 1), 2)]);
        let mut second = again(&server, first.beginning.clone(), resume);
        assert!(second.look());
        assert_eq!(assigned(&second), expected(&[began[0], ("a", 1, Offset::Offset(2))]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_was_deleted_and_created_anew_is_read_from_its_beginning() {
        let server = KafkaServer::start();
        let client = server.client();
        client.create_topic("a", 1);
        client.produce("a", &[KafkaMessage::of("x"), KafkaMessage::of("x")]);
        let mut everywhere = everywhere(&server, &["a"], HashMap::new());
        assert!(everywhere.look());
        assert_eq!(assigned(&everywhere), expected(&[("a", 0, Offset::Offset(2))]));
        client.delete_topic("a");
        let gone = Arc::new(AtomicUsize::new(0));
        let count = gone.clone();
        everywhere.gone = Box::new(move |topic| {
            assert_eq!(topic, "a");
            count.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 1..GONE {
            assert!(!everywhere.look(), "a broker may say so wrongly");
            assert_eq!(assigned(&everywhere).len(), 1);
        }
        assert!(everywhere.look());
        assert_eq!(assigned(&everywhere), []);
        assert_eq!(gone.load(Ordering::Relaxed), 1);
        client.create_topic("a", 1);
        client.produce("a", &[KafkaMessage::of("x")]);
        assert!(everywhere.look());
        assert_eq!(assigned(&everywhere), expected(&[("a", 0, Offset::Offset(0))]));
    }
}
