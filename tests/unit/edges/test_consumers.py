from __future__ import annotations

import pytest

from stagepost.edges.consumers import GROUP_MEMBER, STATE_READER, membership_of
from stagepost.edges.errors import Drop, Stop
from stagepost.edges.kafka_log import KafkaSettings
from stagepost.edges.producers import COMMON


def token(generation: int, member: bytes) -> bytes:
    """As librdkafka 2.16 writes it."""
    return b"CGMDv2:" + generation.to_bytes(4, "little", signed=True) + b"group\0" + member + b"\0\1"


def test_generation_and_member_are_read_from_the_group_metadata() -> None:
    member = membership_of(token(7, b"rdkafka-1"))
    assert (member.generation, member.member, member.token) == (7, "rdkafka-1", token(7, b"rdkafka-1"))


@pytest.mark.parametrize("bad", [token(-1, b"rdkafka-1"), token(7, b""), token(-1, b"")])
def test_offsets_are_never_sent_without_a_generation_and_a_member(bad: bytes) -> None:
    with pytest.raises(Drop, match="in no generation of the group"):
        membership_of(bad)


def test_metadata_in_an_unknown_form_ends_the_process() -> None:
    with pytest.raises(Stop, match="this librdkafka is too new"):
        membership_of(b"CGMDv3:whatever")


def test_the_consumer_and_the_producers_have_exactly_the_settings_of_the_protocol() -> None:
    """delivery.md 3, Settings."""
    kafka = KafkaSettings("localhost:9092")
    consumer = {**GROUP_MEMBER, **kafka.consumer()}
    expected = {
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "range",
        "session.timeout.ms": 15000,
        "max.poll.interval.ms": 120000,
        "queued.max.messages.kbytes": 16384,
        "fetch.queue.backoff.ms": 20,
    }
    assert {name: consumer[name] for name in expected} == expected
    assert "group.instance.id" not in consumer
    producer = {**COMMON, **kafka.producer()}
    expected = {
        "acks": "all",
        "transaction.timeout.ms": 15000,
        "message.timeout.ms": 10000,
        "socket.timeout.ms": 5000,
        "retry.backoff.ms": 100,
        "linger.ms": 5,
        "compression.type": "lz4",
    }
    assert {name: producer[name] for name in expected} == expected
    assert 5 <= STATE_READER["fetch.queue.backoff.ms"] <= 20


def test_a_named_member_is_static() -> None:
    assert KafkaSettings("localhost:9092", static_member="one").consumer()["group.instance.id"] == "one"
