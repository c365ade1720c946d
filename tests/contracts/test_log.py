"""One suite over the broker in memory and a real one: what the runner relies on of a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from stagepost.edges.errors import Drop, MissingTopics, NewProducer, Retry, Unstable
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.memory import MemoryBroker, MemoryLog
from stagepost.edges.ports import (
    Change,
    ChangeKind,
    Committed,
    Intake,
    Log,
    Placed,
    StateReader,
    TransactionalProducer,
    encode_metadata,
)
from stagepost.engine.plan import Emit, Record, Topic
from stagepost.events import murmur2_partition
from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer

PARTITIONS = 2


class MakeLog(Protocol):
    def __call__(self, instance: str = "one") -> Log: ...


TRANSACTION_S = 6.0


@pytest.fixture(params=["memory", "kafka"])
def make_log(request: pytest.FixtureRequest, topic_prefix: str) -> MakeLog:
    if request.param == "memory":
        broker = MemoryBroker({Topic.EVENTS: PARTITIONS, Topic.STATE: PARTITIONS, Topic.TRANSITIONS: PARTITIONS})
        return lambda instance="one": MemoryLog(broker, "group", f"group.{instance}", Topic.EVENTS, TRANSACTION_S)
    kafka: KafkaServer = request.getfixturevalue("kafka")
    make_topics: MakeTopics = request.getfixturevalue("make_topics")
    make_topics(topic_prefix, partitions=PARTITIONS)
    settings = KafkaSettings(
        kafka.bootstrap, session_timeout_ms=1500, transaction_timeout_ms=6000, message_timeout_ms=5000
    )
    return lambda instance="one": KafkaLog(settings, "journey", instance, topic_prefix, Topic.EVENTS)


@pytest.fixture
def log(make_log: MakeLog) -> Log:
    return make_log()


@pytest.fixture
def intake(log: Log) -> Iterator[Intake]:
    """In its group, with both partitions assigned."""
    intake = log.intake(Topic.EVENTS)
    until(lambda: [c.partitions for c in polled(intake) if c.kind is ChangeKind.ASSIGNED] == [(0, 1)])
    yield intake
    intake.close()


@pytest.fixture
def producer(log: Log) -> TransactionalProducer:
    return started(log)


def started(log: Log) -> TransactionalProducer:
    producer = log.producer()
    patiently(lambda: producer.init(5))
    return producer


def patiently(call: Callable[[], None], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return call()
        except (Retry, Unstable):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def until(what: Callable[[], bool], within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline


def polled(intake: Intake) -> list[Change]:
    intake.poll(100, 0.05)
    return list(intake.changes())


def publish(log: Log, *values: bytes, partition: int = 0) -> None:
    publisher = log.publisher()
    publisher.publish([Emit(Topic.EVENTS, b"k", value, partition=partition) for value in values])
    assert publisher.flush(5) == 0


def taken(intake: Intake, count: int) -> list[Record]:
    found: list[Record] = []
    until(lambda: bool(found.extend(intake.poll(100, 0.05)) or len(found) >= count))
    return found


def read(reader: StateReader, to: int) -> list[tuple[int, bytes, bytes | None]]:
    found: list[tuple[int, bytes, bytes | None]] = []

    def reached() -> bool:
        found.extend((record.offset, record.key, record.value) for record in reader.read(100, 0.05))
        return reader.position() >= to

    until(reached)
    return found


def state(value: bytes, partition: int = 0) -> Emit:
    return Emit(Topic.STATE, b"k", value, partition=partition)


def test_topics_have_their_partitions_and_an_id(log: Log) -> None:
    assert log.partitions([Topic.EVENTS, Topic.STATE]) == {Topic.EVENTS: PARTITIONS, Topic.STATE: PARTITIONS}
    assert log.topic_id(Topic.STATE) == log.topic_id(Topic.STATE) != log.topic_id(Topic.EVENTS)


def test_topics_that_are_not_there_are_named(kafka: KafkaServer) -> None:
    real = KafkaLog(KafkaSettings(kafka.bootstrap), "journey", "one", "nobody.", Topic.EVENTS)
    with pytest.raises(MissingTopics) as raised:
        real.partitions([Topic.STATE, Topic.EVENTS])
    assert raised.value.names == ("nobody.email.events", "nobody.stagepost.state")
    twin = MemoryLog(MemoryBroker({Topic.STATE: 1}), "group", "id", Topic.EVENTS)
    with pytest.raises(MissingTopics) as raised:
        twin.partitions([Topic.STATE, Topic.EVENTS])
    assert raised.value.names == ("email.events",)


def test_nothing_is_delivered_before_the_start_and_then_from_the_offset_on(log: Log, intake: Intake) -> None:
    publish(log, b"a", b"b", b"c")
    assert list(intake.poll(100, 0.3)) == []
    patiently(lambda: intake.start(0, 1))
    records = taken(intake, 2)
    assert [(record.offset, record.value) for record in records] == [(1, b"b"), (2, b"c")]
    assert {(record.topic, record.partition, record.key) for record in records} == {(Topic.EVENTS, 0, b"k")}


def test_a_start_right_after_joining_skips_nothing(make_log: MakeLog) -> None:
    log = make_log()
    for partition in range(PARTITIONS):
        publish(log, *[b"%d" % number for number in range(10)], partition=partition)
    for _ in range(4):
        intake = log.intake(Topic.EVENTS)
        until(lambda intake=intake: any(change.kind is ChangeKind.ASSIGNED for change in polled(intake)))  # type: ignore[misc]
        for partition in range(PARTITIONS):
            intake.start(partition, 5)
        assert {record.offset for record in taken(intake, 5 * PARTITIONS)} == set(range(5, 10))
        intake.close()


def test_a_halted_partition_delivers_again_from_where_it_is_started(log: Log, intake: Intake) -> None:
    publish(log, b"a", b"b")
    patiently(lambda: intake.start(0, 0))
    assert len(taken(intake, 2)) == 2
    intake.halt(0)
    publish(log, b"c")
    assert list(intake.poll(100, 0.3)) == []
    patiently(lambda: intake.start(0, 1))
    assert [record.value for record in taken(intake, 2)] == [b"b", b"c"]


def test_a_held_partition_keeps_its_place(log: Log, intake: Intake) -> None:
    patiently(lambda: intake.start(0, 0))
    publish(log, b"a")
    assert len(taken(intake, 1)) == 1
    intake.hold([0])
    publish(log, b"b")
    assert list(intake.poll(100, 0.3)) == []
    intake.release([0])
    assert [record.value for record in taken(intake, 1)] == [b"b"]


def test_a_partition_that_was_halted_while_held_is_read_again_once_it_is_started(log: Log, intake: Intake) -> None:
    patiently(lambda: intake.start(0, 0))
    publish(log, b"a")
    assert len(taken(intake, 1)) == 1
    intake.hold([0])
    assert list(intake.poll(100, 0.3)) == []
    intake.halt(0)
    publish(log, b"b")
    assert list(intake.poll(100, 0.3)) == []
    patiently(lambda: intake.start(0, 1))
    assert [record.value for record in taken(intake, 1)] == [b"b"]


def test_lag_is_known_and_ends_at_zero(log: Log, intake: Intake) -> None:
    publish(log, b"a", b"b", b"c")
    patiently(lambda: intake.start(0, 0))
    until(lambda: len(intake.poll(1, 0.05)) == 1)
    assert intake.lag(0, 1) == 2
    until(lambda: not intake.poll(1, 0.05) and intake.lag(0, 3) == 0)


def test_a_partition_without_commit_begins_where_it_is_told(log: Log, intake: Intake) -> None:
    publish(log, b"a", b"b")
    assert intake.committed(0, 2) is None
    assert intake.first_offset(0, "earliest") == 0
    assert intake.first_offset(0, "latest") == 2
    assert intake.first_offset(0, 0) == 0
    assert intake.first_offset(0, 4_000_000_000_000_000) == 2


def test_a_committed_transaction_is_seen_as_a_whole_and_not_before(log: Log, producer: TransactionalProducer) -> None:
    reader = log.reader(Topic.STATE)
    reader.seek(0, 0)
    places: list[Placed] = []
    producer.begin()
    producer.send(state(b"1"))
    producer.send(state(b"2"), places.append)
    patiently(lambda: producer.flush(5))
    assert [place.offset for place in places] == [1]
    assert list(reader.read(100, 0.3)) == []
    bounds = log.bounds(Topic.STATE, 0)
    assert (bounds.low, bounds.stable, bounds.high) == (0, 0, 2)
    patiently(lambda: producer.commit(5))
    until(lambda: log.bounds(Topic.STATE, 0).stable == 3)
    assert read(reader, 3) == [(0, b"k", b"1"), (1, b"k", b"2")]
    reader.close()


def test_an_aborted_transaction_is_never_seen(log: Log, producer: TransactionalProducer) -> None:
    reader = log.reader(Topic.STATE)
    reader.seek(0, 0)
    producer.begin()
    producer.send(state(b"1"))
    patiently(lambda: producer.flush(5))
    patiently(lambda: producer.abort(5))
    producer.begin()
    producer.send(state(b"2"))
    patiently(lambda: producer.flush(5))
    patiently(lambda: producer.commit(5))
    until(lambda: log.bounds(Topic.STATE, 0).stable == 4)
    assert read(reader, 4) == [(2, b"k", b"2")]
    reader.close()


def test_a_halted_partition_is_no_longer_held(log: Log, intake: Intake) -> None:
    publish(log, b"a", b"b")
    patiently(lambda: intake.start(0, 0))
    assert len(taken(intake, 2)) == 2
    intake.hold([0])
    intake.halt(0)
    intake.release([1])
    patiently(lambda: intake.start(0, 1))
    assert [record.value for record in taken(intake, 1)] == [b"b"]


def test_the_transaction_of_an_owner_that_stands_still_is_ended_after_its_timeout_and_its_owner_fenced(
    log: Log, producer: TransactionalProducer
) -> None:
    producer.begin()
    producer.send(state(b"1"))
    patiently(lambda: producer.flush(5))
    assert log.bounds(Topic.STATE, 0).stable == 0
    if isinstance(log, MemoryLog):
        log._broker.now += int(TRANSACTION_S * 1_000_000)
    until(lambda: log.bounds(Topic.STATE, 0).stable > 0, within_s=40)  # the broker looks every 10 s

    def go_on() -> None:
        producer.send(state(b"2"))
        patiently(lambda: producer.flush(5))
        patiently(lambda: producer.commit(5))

    with pytest.raises(NewProducer):
        go_on()
    reader = log.reader(Topic.STATE)
    reader.seek(0, 0)
    assert read(reader, log.bounds(Topic.STATE, 0).stable) == []
    reader.close()


def test_compaction_leaves_the_newest_of_each_key_and_no_old_tombstone() -> None:
    twin = MemoryBroker({Topic.STATE: 1})

    def publish(key: bytes, value: bytes | None) -> None:
        twin.publish(Emit(Topic.STATE, key, value, partition=0))

    def left() -> list[tuple[int, bytes, bytes | None]]:
        return [(record.offset, record.key, record.value) for record in twin.committed_records(Topic.STATE, 0)]

    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", None), (b"b", b"2")):
        publish(key, value)
    twin.compact(Topic.STATE, 0, 1_000_000)
    assert left() == [(2, b"a", None), (3, b"b", b"2")]
    twin.now += 1_000_000
    twin.compact(Topic.STATE, 0, 1_000_000)
    assert left() == [(3, b"b", b"2")]
    assert MemoryLog(twin, "group", "id", Topic.EVENTS).bounds(Topic.STATE, 0).low == 0


def test_a_reader_goes_to_any_place_of_any_partition(log: Log, producer: TransactionalProducer) -> None:
    producer.begin()
    for value in (b"1", b"2", b"3"):
        producer.send(state(value, partition=1))
    patiently(lambda: producer.flush(5))
    patiently(lambda: producer.commit(5))
    until(lambda: log.bounds(Topic.STATE, 1).stable == 4)
    reader = log.reader(Topic.STATE)
    reader.seek(0, 0)
    reader.seek(1, 2)
    assert read(reader, 4) == [(2, b"k", b"3")]
    reader.seek(1, 0)
    assert len(read(reader, 4)) == 3
    reader.close()


def test_offsets_are_committed_with_their_metadata_and_undecided_until_then(
    log: Log, intake: Intake, producer: TransactionalProducer
) -> None:
    def in_transaction(seq: int, offset: int) -> None:
        producer.begin()
        producer.send(state(b"1"))
        patiently(lambda: producer.flush(5))
        patiently(lambda: producer.send_offsets({0: (offset, encode_metadata(seq, "w"))}, intake.membership(), 5))

    in_transaction(1, 5)
    with pytest.raises(Unstable):
        intake.committed(0, 0.5)
    patiently(lambda: producer.commit(5))
    found: list[Committed | None] = []
    patiently(lambda: found.append(intake.committed(0, 2)))
    in_transaction(2, 9)
    patiently(lambda: producer.abort(5))
    patiently(lambda: found.append(intake.committed(0, 2)))
    assert found == [Committed(5, 1, 1, "w"), Committed(5, 1, 1, "w")]


def test_a_second_producer_with_the_same_id_fences_the_first_and_ends_its_transaction(
    log: Log, producer: TransactionalProducer
) -> None:
    producer.begin()
    producer.send(state(b"1"))
    patiently(lambda: producer.flush(5))
    second = started(log)

    def go_on() -> None:
        producer.send(state(b"2"))
        patiently(lambda: producer.flush(5))
        patiently(lambda: producer.commit(5))

    with pytest.raises(NewProducer):
        go_on()
    second.begin()
    second.send(state(b"3"))
    patiently(lambda: second.flush(5))
    patiently(lambda: second.commit(5))
    reader = log.reader(Topic.STATE)
    reader.seek(0, 0)
    end = log.bounds(Topic.STATE, 0).high
    assert [value for _, _, value in read(reader, end)] == [b"3"]
    reader.close()


def test_offsets_of_a_member_of_an_older_generation_are_refused(
    make_log: MakeLog, intake: Intake, producer: TransactionalProducer
) -> None:
    member = intake.membership()
    other = make_log("two").intake(Topic.EVENTS)
    changes: list[tuple[str, tuple[int, ...]]] = []

    def both_have_one() -> bool:
        other.poll(100, 0.05)
        intake.poll(100, 0.05)
        changes.extend((change.kind, change.partitions) for change in intake.changes())
        return changes[-1:] == [("assigned", (0,))] or changes[-1:] == [("assigned", (1,))]

    until(both_have_one)
    assert changes[0] == ("revoked", (0, 1))
    producer.begin()
    producer.send(state(b"1"))
    patiently(lambda: producer.flush(5))
    with pytest.raises(Drop):
        patiently(lambda: producer.send_offsets({0: (1, encode_metadata(1, "w"))}, member, 5))
    patiently(lambda: producer.abort(5))
    producer.begin()
    patiently(lambda: producer.send_offsets({0: (1, encode_metadata(1, "w"))}, intake.membership(), 5))
    patiently(lambda: producer.commit(5))
    other.close()


def test_a_record_without_partition_lies_where_jvm_producers_would_put_it(
    log: Log, producer: TransactionalProducer
) -> None:
    keys = [b"c-%d" % number for number in range(20)]
    producer.begin()
    for key in keys:
        producer.send(Emit(Topic.TRANSITIONS, key, b"x", (("h", b"1"),)))
    patiently(lambda: producer.flush(5))
    patiently(lambda: producer.commit(5))
    reader = log.reader(Topic.TRANSITIONS)
    for partition in range(PARTITIONS):
        reader.seek(partition, 0)
        found = [key for _, key, _ in read(reader, log.bounds(Topic.TRANSITIONS, partition).high)]
        assert found == [key for key in keys if murmur2_partition(key, PARTITIONS) == partition]
    reader.close()
