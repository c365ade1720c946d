"""What one writes first: poll an event, ask Redis, write Redis, commit now and then. At least once."""

from __future__ import annotations

import sys

import redis
from confluent_kafka import Consumer, Producer

from stagepost.bench.peers.rule import Standing, advance, decode, encode, pack, unpack

_COMMIT_EVERY = 1_000


def main(bootstrap: str, topic: str, name: str, redis_url: str) -> None:
    store = redis.Redis.from_url(redis_url)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 5})
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": name,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    uncommitted = 0
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            _handle(store, producer, name, message.value() or b"")
            producer.poll(0)
            uncommitted += 1
        if uncommitted >= _COMMIT_EVERY or (uncommitted and message is None):
            producer.flush()
            consumer.commit(asynchronous=False)
            uncommitted = 0


def _handle(store: redis.Redis, producer: Producer, name: str, value: bytes) -> None:
    event = decode(value)
    key = f"{name}:{event.contact}"
    found = store.get(key)
    result = advance(unpack(found) if isinstance(found, bytes) else Standing(), event)
    if result is None:
        return
    standing, transition = result
    with store.pipeline(transaction=False) as pipeline:
        pipeline.set(key, pack(standing))
        pipeline.hincrby(f"{name}.tallies", f"{event.campaign}/{event.type}")
        pipeline.execute()
    if transition is not None:
        producer.produce(f"{name}.transitions", encode(transition), event.contact)


if __name__ == "__main__":
    main(*sys.argv[1:])
