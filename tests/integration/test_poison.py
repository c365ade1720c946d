"""Records that end the process, or of which no topic takes what comes, on a real broker: set aside alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.integration.test_runner import PARTITIONS, Stream, running

from stagepost.edges.metrics import Metrics
from stagepost.edges.processes import Child, ProcessGroup
from stagepost.engine.attempts import LIVES
from stagepost.engine.plan import Topic
from stagepost.events import murmur2_partition
from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer

DEADLY = "deadly"


@pytest.fixture
def stream(kafka: KafkaServer, redis_url: str, topic_prefix: str, make_topics: MakeTopics) -> Stream:
    return Stream(kafka.bootstrap, redis_url, make_topics(topic_prefix, PARTITIONS))


def start(stream: Stream, group: ProcessGroup, role: str) -> Child:
    script = Path(__file__).with_name("counting.py")
    argv = [sys.executable, str(script), stream.bootstrap, stream.redis_url, stream.prefix, "one", "-", "1", role]
    return group.start(f"{role} worker", argv, {"PYTHONPATH": "src:."}, group.folder / "poison.log")


def dead(stream: Stream) -> list[tuple[str, str, str]]:
    """Value, reason and detail of every dead letter."""
    settings = {"bootstrap.servers": stream.bootstrap, "group.id": "unused", "isolation.level": "read_committed"}
    consumer = Consumer({**settings, "enable.partition.eof": True})
    consumer.assign([TopicPartition(stream.prefix + Topic.EVENTS_DLQ, number, 0) for number in range(PARTITIONS)])
    found, ends = [], 0
    while ends < PARTITIONS:
        for message in consumer.consume(100, 0.5):
            if message.error() is not None:
                ends += 1
                continue
            told = {name: value.decode() for name, value in message.headers() or [] if isinstance(value, bytes)}
            found.append(((message.value() or b"").decode(), told["stagepost-reason"], told["stagepost-detail"]))
    consumer.close()
    return found


@pytest.mark.parametrize(("role", "how"), [("journey", "kill"), ("journey", "exit"), ("normalise", "kill")])
def test_a_record_over_which_the_process_ends_is_set_aside_and_all_others_are_done_once(
    stream: Stream, process_group: ProcessGroup, role: str, how: str
) -> None:
    stream.send(40)
    contact = "c7"
    partition = murmur2_partition(contact.encode(), PARTITIONS)
    stream._producer.produce(stream.prefix + Topic.EVENTS, f"{DEADLY} {how}", contact, partition)
    stream.send(40)
    codes: Counter[int] = Counter()
    deadline = time.monotonic() + 240
    worker = start(stream, process_group, role)
    while len(stream.moves()) < 80 or not dead(stream):
        assert time.monotonic() < deadline, worker.tail()
        if (code := worker.poll()) is not None:
            codes[code] += 1
            worker = start(stream, process_group, role)
        time.sleep(0.1)
    assert worker.stop(grace_s=10) == 0
    assert dead(stream) == [(f"{DEADLY} {how}", "rule-error", f"computing it ended the process {LIVES} times")]
    done = Counter((contact, event) for contact, _, event in stream.moves())
    assert Counter(stream.sent) == done
    assert codes.keys() == {-signal.SIGKILL if how == "kill" else 9}
    assert LIVES < codes.total() <= 2 * LIVES + 8


def test_a_record_whose_output_no_topic_takes_is_set_aside_and_all_others_are_done_once(
    stream: Stream,
) -> None:
    metrics = Metrics()
    with running(stream.runner(counters=metrics)):
        stream.send(100)
        large = os.urandom(800_000).hex()  # fits the topic of events, and not that of transitions
        partition = murmur2_partition(b"c3", PARTITIONS)
        producer = Producer({"bootstrap.servers": stream.bootstrap, "message.max.bytes": 2 << 20})
        producer.produce(stream.prefix + Topic.EVENTS, large, "c3", partition)
        assert producer.flush(20) == 0
        stream.send(100)
        stream.await_moves(200, within_s=60)
    [(value, reason, detail)] = dead(stream)
    assert (value == large, reason, detail) == (True, "oversize", "what comes of it is larger than a topic takes")
    assert metrics.total("transactions_total", result="aborted") > 0
    stream.check(dead=1)
