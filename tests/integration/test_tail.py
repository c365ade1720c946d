"""Reading topics as an ordinary client, and removing an installation, on a real broker and a real Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from stagepost.edges.admin import admin_client
from stagepost.edges.cleanup import existing_topics, remove_from_kafka, remove_from_redis
from stagepost.edges.errors import MissingTopics
from stagepost.edges.producers import KafkaPublisher
from stagepost.edges.tail import Tail
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Emit, Record, Topic
from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer


def read(tail: Tail, count: int, within_s: float = 20) -> Sequence[Record]:
    """The next ``count`` records."""
    found: list[Record] = []
    deadline = time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count} records came"
        found += tail.read(100, 0.2)
    return found


def test_a_tail_reads_from_the_first_record_on_and_follows(
    kafka: KafkaServer, make_topics: MakeTopics, topic_prefix: str
) -> None:
    make_topics(topic_prefix)
    names = TopicNames(topic_prefix)
    settings = {"bootstrap.servers": kafka.bootstrap}
    publisher = KafkaPublisher(settings, names)
    publisher.publish([Emit(Topic.ALERTS, b"k", b"before", (("h", b"1"),))])
    assert 0 == publisher.flush(10)
    tail = Tail(settings, names, [Topic.ALERTS, Topic.METRICS])
    [before] = read(tail, 1)
    assert (Topic.ALERTS, b"k", b"before", (("h", b"1"),)) == (before.topic, before.key, before.value, before.headers)
    publisher.publish([Emit(Topic.METRICS, b"k", b"after")])
    assert [b"after"] == [record.value for record in read(tail, 1)]
    tail.close()


def test_a_tail_does_not_show_what_is_not_committed(
    kafka: KafkaServer, make_topics: MakeTopics, topic_prefix: str
) -> None:
    make_topics(topic_prefix)
    names = TopicNames(topic_prefix)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{topic_prefix}tail"})
    producer.init_transactions(20)
    for value in (b"aborted", b"committed"):
        producer.begin_transaction()
        producer.produce(names.full(Topic.TRANSITIONS), value, partition=0)
        producer.flush(10)
        if value == b"aborted":
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    tail = Tail({"bootstrap.servers": kafka.bootstrap}, names, [Topic.TRANSITIONS])
    assert [b"committed"] == [record.value for record in read(tail, 1)]
    tail.close()


def test_a_tail_of_a_topic_that_is_not_there_names_it(kafka: KafkaServer, topic_prefix: str) -> None:
    with pytest.raises(MissingTopics, match=f"{topic_prefix}email.alerts"):
        Tail({"bootstrap.servers": kafka.bootstrap}, TopicNames(topic_prefix), [Topic.ALERTS])


def test_an_installation_is_removed_with_its_groups_and_no_other_is_touched(
    kafka: KafkaServer, redis_url: str, make_topics: MakeTopics, topic_prefix: str
) -> None:
    mine, other = TopicNames(topic_prefix), TopicNames(f"other-{topic_prefix}")
    make_topics(mine.prefix)
    make_topics(other.prefix)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": mine.group("journey")})
    consumer.commit(offsets=[TopicPartition(mine.full(Topic.EVENTS), 0, 0)], asynchronous=False)
    consumer.close()
    client = admin_client(kafka.bootstrap)
    groups = {group.group_id for group in client.list_consumer_groups().result().valid}
    assert mine.group("journey") in groups

    remove_from_kafka(client, mine, ["normalise", "journey"])

    groups = {group.group_id for group in client.list_consumer_groups().result().valid}
    assert mine.group("journey") not in groups
    assert [] == existing_topics(client, mine)
    assert len(Topic) == len(existing_topics(client, other))


def test_only_the_keys_of_a_prefix_are_removed(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for key in (
            "{stagepost-demo.:3}:ck",
            "{stagepost-demo./rollup:0}:t",
            "{acme.:3}:ck",
            "{stagepost-demo.x.:3}:ck",
        ):
            client.set(key, "1")
        remove_from_redis(redis_url, "stagepost-demo.")
        assert [b"{acme.:3}:ck", b"{stagepost-demo.x.:3}:ck"] == sorted(client.keys("*"))


def test_keys_without_a_prefix_are_not_removed(redis_url: str) -> None:
    with pytest.raises(ValueError, match="without a prefix"):
        remove_from_redis(redis_url, "")
