"""Writes messages to topics of Kafka, for the benchmark.

It is started with the address of a broker, and reads orders and writes answers as lines of JSON.
Each order takes at most TIME.

  {"create": [TOPIC, ...]}
      creates topics of one partition each
  {"topic": TOPIC, "first": NUMBER, "until": NUMBER, "edges": TEXT, "between": TEXT}
      writes messages with these numbers, "edges" the first and the last, "between" all others.
      %010d in a text stands for the number of the message.

The answer is {} when the broker has acknowledged everything, or {"error": TEXT}.
"""

import json
import sys
import time

from confluent_kafka import Producer, admin

TIME = 600

HEADERS = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


class Writer:
    def __init__(self, broker):
        client = {"bootstrap.servers": broker, "log_level": 0}
        self.admin = admin.AdminClient(client)
        self.failed = []
        self.producer = Producer(
            {
                **client,
                "acks": "all",
                "linger.ms": 5,
                "batch.size": 1000000,
                "delivery.report.only.error": True,
                "on_delivery": lambda error, _: error is not None and self.failed.append(error),
            }
        )

    def create(self, topics):
        wanted = [admin.NewTopic(topic, 1, 1) for topic in topics]
        for created in self.admin.create_topics(wanted).values():
            created.result(TIME)

    def write(self, topic, first, until, edges, between):
        end = time.monotonic() + TIME
        for number in range(first, until):
            text = edges if number in (first, until - 1) else between
            while True:
                try:
                    self.producer.produce(topic, text % number, headers=HEADERS, partition=0)
                    break
                except BufferError:
                    self.producer.poll(0.05)
                    if time.monotonic() > end:
                        raise
            if number % 1000 == 0:
                self.producer.poll(0)
        left = self.producer.flush(max(0, end - time.monotonic()))
        if left or self.failed:
            raise RuntimeError(f"{left} messages without an answer, {len(self.failed)} failed: {self.failed[:1]}")


def main():
    writer = Writer(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "create" in order:
                writer.create(order["create"])
            else:
                writer.write(**order)
            answer = {}
        except Exception as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
