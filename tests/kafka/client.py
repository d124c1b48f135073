"""A client of Kafka that is not the gateway's, for the tests.

It is started with its configuration of librdkafka as JSON, and reads commands and writes results as
lines of JSON. Keys, values and headers are in Base64, or null. Each command takes at most TIME.
"""

import base64
import json
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition, admin

TIME = 15


def decoded(text):
    return None if text is None else base64.b64decode(text)


def encoded(data):
    if isinstance(data, str):
        data = data.encode()
    return None if data is None else base64.b64encode(data).decode()


class Client:
    def __init__(self, config):
        self.errors = []
        self.config = {"error_cb": lambda error: self.errors.append(error), "log_level": 0, **config}
        token = self.config.pop("oauth.token", None)
        if token is not None:
            self.config["oauth_cb"] = lambda _: (token, time.time() + 3600)
        self.made = {}

    def one(self, kind, **config):
        if kind not in self.made:
            self.made[kind] = kind({**self.config, **config})
        return self.made[kind]

    @property
    def admin(self):
        return self.one(admin.AdminClient)

    def topics(self, within=TIME):
        """Returns all topics, each with its number of partitions. Fails with the errors of the client."""
        consumer, end = self.consumer(), time.monotonic() + within
        while True:
            try:
                topics = consumer.list_topics(timeout=min(0.5, within)).topics
                return {name: len(topic.partitions) for name, topic in topics.items()}
            except KafkaException as error:
                consumer.poll(0)  # calls error_cb
                errors = [one for one in self.errors if one.code() != KafkaError._ALL_BROKERS_DOWN]
                if errors:
                    raise RuntimeError("; ".join(map(str, errors))) from error
                if time.monotonic() > end:
                    raise

    def create_topic(self, topic, partitions):
        try:
            self.admin.create_topics([admin.NewTopic(topic, partitions, 1)])[topic].result(TIME)
        except KafkaException as error:
            # The library repeats a request whose answer was lost.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        end = time.monotonic() + TIME
        while self.topics().get(topic) != partitions and time.monotonic() < end:
            pass

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(TIME)

    def add_partitions(self, topic, partitions):
        self.admin.create_partitions([admin.NewPartitions(topic, partitions)])[topic].result(TIME)

    def delete_records(self, topic, partition, before):
        until = TopicPartition(topic, partition, before)
        for result in self.admin.delete_records([until]).values():
            result.result(TIME)

    def produce(self, topic, messages):
        """Returns the partition and the offset of each message, when all are acknowledged."""
        producer = self.one(Producer, **{"linger.ms": 0})
        written = [None] * len(messages)
        failed = []

        def on(number):
            def delivered(error, message):
                if error is not None:
                    failed.append(error)
                else:
                    written[number] = [message.partition(), message.offset()]

            return delivered

        for number, message in enumerate(messages):
            partition = message["partition"]
            arguments = {
                "key": decoded(message["key"]),
                "value": decoded(message["value"]),
                "headers": [(name, decoded(value)) for name, value in message["headers"]],
                "on_delivery": on(number),
                **({} if partition is None else {"partition": partition}),
            }
            while True:
                try:
                    producer.produce(topic, **arguments)
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(TIME)
        if failed or left:
            raise RuntimeError(f"not written: {left} without an answer, {failed[:1]}")
        return written

    def consumer(self):
        return self.one(
            Consumer,
            **{
                "group.id": "a reader that joins no group",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "fetch.wait.max.ms": 10,
            },
        )

    def partitions(self, topic):
        return [TopicPartition(topic, partition) for partition in range(self.topics().get(topic, 0))]

    def watermarks(self, topic):
        consumer = self.consumer()
        marks = (consumer.get_watermark_offsets(one, timeout=TIME) for one in self.partitions(topic))
        return [list(pair) for pair in marks]

    def read(self, topic):
        """Returns all messages that a topic has, by partition and offset."""
        consumer, end = self.consumer(), time.monotonic() + TIME
        ends = {n: (low, high) for n, (low, high) in enumerate(self.watermarks(topic)) if low < high}
        messages = []
        if not ends:
            return messages
        consumer.assign([TopicPartition(topic, n, low) for n, (low, _) in ends.items()])
        try:
            while ends:
                for message in consumer.consume(10_000, 0.01):
                    if message.error() is not None:
                        raise KafkaException(message.error())
                    partition, offset = message.partition(), message.offset()
                    if partition in ends and offset < ends[partition][1]:
                        messages.append(message)
                        if offset == ends[partition][1] - 1:
                            del ends[partition]
                if time.monotonic() > end:
                    raise RuntimeError(f"not all of {topic} was read: {ends}")
        finally:
            consumer.unassign()
        messages.sort(key=lambda message: (message.partition(), message.offset()))
        return [
            {
                "partition": message.partition(),
                "offset": message.offset(),
                "key": encoded(message.key()),
                "value": encoded(message.value()),
                "headers": [[name, encoded(value)] for name, value in message.headers() or []],
            }
            for message in messages
        ]

    def committed(self, group, topic):
        """Returns the committed offset of each partition, or null."""
        asked = confluent_kafka.ConsumerGroupTopicPartitions(group, self.partitions(topic))
        answer = self.admin.list_consumer_group_offsets([asked])[group].result(TIME)
        offsets = {one.partition: one.offset for one in answer.topic_partitions}
        return [offset if offset >= 0 else None for _, offset in sorted(offsets.items())]

    def commit(self, group, topic, partition, offset):
        """Commits an offset of a group that has no members."""
        asked = confluent_kafka.ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])
        self.admin.alter_consumer_group_offsets([asked])[group].result(TIME)

    def groups(self):
        listed = self.admin.list_consumer_groups(request_timeout=TIME).result(TIME)
        return sorted(group.group_id for group in listed.valid)

    def members(self, group):
        """Returns the state of a group, and its members with what is assigned to them."""
        answer = self.admin.describe_consumer_groups([group])[group].result(TIME)
        members = [
            {
                "client": member.client_id,
                "id": member.member_id,
                "partitions": [[one.topic, one.partition] for one in member.assignment.topic_partitions],
            }
            for member in answer.members
        ]
        return {"state": answer.state.name, "members": members}


def main():
    client = Client(json.loads(sys.argv[1]))
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"result": getattr(client, command.pop("do"))(**command)}
        except Exception as error:  # goes to the test, which decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
