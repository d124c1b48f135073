"""The service of the channels: reads what clients send, answers them, and publishes events.

    service.py BROKERS

It reads the topic `channels-requests`, to which the gateway writes the requests of its endpoint. For a
good request it writes an event to the topic `rig`, from which the gateway delivers it to those who
subscribed to its type. The answer goes to `rig-proxy-response`: the gateway finds the waiting client
by the header `rig-correlation`.
"""

import json
import re
import signal
import sys
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

REQUESTS, EVENTS, ANSWERS = "channels-requests", "rig", "rig-proxy-response"
CHANNEL = re.compile("[a-z]{1,20}")
TEXT_LENGTH = 500


def event_of(request):
    """Returns the event for a request, or raises ValueError with a text for the client."""
    data = request.get("data")
    channel, text = (data.get("channel"), data.get("text")) if isinstance(data, dict) else (None, None)
    if not isinstance(channel, str) or not CHANNEL.fullmatch(channel):
        raise ValueError("expected a channel of 1 to 20 letters, a to z")
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_LENGTH:
        raise ValueError(f"expected a text of 1 to {TEXT_LENGTH} characters")
    return {
        "specversion": "1.0",
        "type": f"channels.{channel}",
        "source": "/channels",
        "id": str(uuid.uuid4()),
        "datacontenttype": "application/json",
        "data": {"channel": channel, "text": text},
    }


def write(producer, topic, value, headers, key=None):
    """Writes a message and waits until the broker has it."""
    failed = []
    producer.produce(
        topic, json.dumps(value), key, headers=headers, on_delivery=lambda error, _: error and failed.append(error)
    )
    producer.flush()
    if failed:
        raise KafkaException(failed[0])


def serve(producer, value):
    """Serves one request: an event in JSON, in which the gateway has written `rig.correlation`."""
    try:
        request = json.loads(value)
        correlation = request["rig"]["correlation"]
    except (ValueError, TypeError, KeyError):
        print("ignored: a message that is no request of the gateway", flush=True)
        return
    try:
        event = event_of(request)
        headers = [("content-type", "application/cloudevents+json; charset=UTF-8")]
        # Events of one channel have one key, and with it one partition: they keep their order.
        write(producer, EVENTS, event, headers, key=event["data"]["channel"])
        status, answer = 201, {"id": event["id"]}
    except ValueError as error:
        status, answer = 400, {"error": str(error)}
    headers = [
        ("rig-correlation", correlation),
        ("rig-response-code", str(status)),
        ("content-type", "application/json"),
    ]
    write(producer, ANSWERS, answer, headers)
    print(f"answered {status}", flush=True)


def create_topics(brokers):
    admin = AdminClient({"bootstrap.servers": brokers})
    topics = [NewTopic(name, 1, 1) for name in (REQUESTS, EVENTS, ANSWERS)]
    for result in admin.create_topics(topics).values():
        try:
            result.result(10)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def leave(*_):
    # Without brokers, closing the consumer may take for ever: the alarm ends the program then.
    signal.alarm(5)
    sys.exit(0)


def main():
    (brokers,) = sys.argv[1:]
    signal.signal(signal.SIGTERM, leave)
    create_topics(brokers)
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0, "message.timeout.ms": 5000})
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "channels-service",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([REQUESTS], on_assign=lambda *_: print("ready", flush=True))
    try:
        while True:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is not None:
                print(f"not read: {message.error()}", flush=True)
                continue
            serve(producer, message.value() or b"")
            consumer.store_offsets(message)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


main()
