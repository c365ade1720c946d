"""Clients that hear nothing any more while others do are replaced, on a real broker behind a proxy.

What brings this about in the field is a client that has forgotten its brokers (``lifeline.py``); here its connections
are silent for good, and it is told never to give one up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.faults.proxy import KafkaProxy, proxied_kafka
from tests.integration.roles import wait_for

from stagepost.edges import lifeline
from stagepost.edges.admin import admin_client, create_topics, topic_specs
from stagepost.edges.confirmed import ConfirmedProducer
from stagepost.edges.consumers import KafkaIntake, KafkaStateReader
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.ports import ChangeKind
from stagepost.edges.processes import ProcessGroup
from stagepost.edges.producers import KafkaPublisher
from stagepost.edges.tail import Tail
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Emit, Topic

NAMES = TopicNames("lifeline.")
GROUP = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 400}
WITHIN_S = 60


@dataclass
class Behind:
    """A broker, and a proxy before it. ``settings``: of clients by way of the proxy."""

    kafka: LocalKafka
    proxy: KafkaProxy

    @property
    def settings(self) -> dict[str, Any]:
        return {"bootstrap.servers": f"127.0.0.1:{self.proxy.port}", "socket.max.fails": 0}

    def send(self, topic: Topic, *values: bytes) -> None:
        """Past the proxy, into partition 0."""
        publisher = KafkaPublisher({"bootstrap.servers": self.kafka.bootstrap}, NAMES)
        publisher.publish([Emit(topic, b"k", value, partition=0) for value in values])
        assert 0 == publisher.flush(10)

    def read(self, topic: Topic, count: int) -> list[bytes | None]:
        tail = Tail({"bootstrap.servers": self.kafka.bootstrap}, NAMES, [topic])
        found: list[bytes | None] = []
        try:
            until(lambda: bool(found.extend(each.value for each in tail.read(100, 0.2)) or len(found) >= count))
        finally:
            tail.close()
        return found


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask more often than a real cluster could stand."""
    monkeypatch.setattr(lifeline, "_EVERY_S", 0.4)
    monkeypatch.setattr(lifeline, "_ANSWER_S", 0.4)


@pytest.fixture(scope="module")
def behind(process_group: ProcessGroup) -> Iterator[Behind]:
    kafka, proxy = proxied_kafka(process_group)
    create_topics(admin_client(kafka.bootstrap), topic_specs(NAMES.prefix, 1, 1, replication=1))
    yield Behind(kafka, proxy)
    proxy.close()
    kafka.kill()


def until(what: Callable[[], bool]) -> None:
    wait_for(what, WITHIN_S, "a client is replaced")


def test_an_intake_joins_the_group_anew_and_goes_on_where_it_is_told(behind: Behind) -> None:
    intake = KafkaIntake({**behind.settings, **GROUP}, "lifeline", NAMES, Topic.EVENTS)
    kinds: list[ChangeKind] = []
    values: list[bytes | None] = []

    def turn() -> int:
        values.extend(record.value for record in intake.poll(10, 0.1))
        for change in intake.changes():
            kinds.append(change.kind)
            if change.kind is ChangeKind.ASSIGNED:
                assert (0,) == change.partitions
                intake.start(0, len(values))
        return len(values)

    behind.send(Topic.EVENTS, b"one")
    until(lambda: turn() == 1)
    member = intake.membership().member
    behind.proxy.strand()
    behind.send(Topic.EVENTS, b"two")
    until(lambda: turn() == 2)
    assert [b"one", b"two"] == values
    assert ChangeKind.LOST in kinds
    assert member != intake.membership().member
    intake.close()


def test_a_reader_of_states_goes_on_at_its_place(behind: Behind) -> None:
    reader = KafkaStateReader(behind.settings, NAMES, Topic.STATE)
    values: list[bytes | None] = []

    def turn() -> int:
        values.extend(record.value for record in reader.read(10, 0.1))
        return len(values)

    reader.seek(0, 0)
    behind.send(Topic.STATE, b"one")
    until(lambda: turn() == 1)
    behind.proxy.strand()
    behind.send(Topic.STATE, b"two")
    until(lambda: turn() == 2)
    assert [b"one", b"two"] == values
    reader.close()


def test_what_a_publisher_was_given_is_sent_by_the_next_client_in_its_order(behind: Behind) -> None:
    publisher = KafkaPublisher(behind.settings, NAMES)
    publisher.publish([Emit(Topic.ALERTS, b"k", b"one")])
    assert 0 == publisher.flush(10)
    behind.proxy.strand()
    publisher.publish([Emit(Topic.ALERTS, b"k", value) for value in (b"two", b"three")])

    def delivered() -> bool:
        publisher.publish(())
        return publisher.flush(0.2) == 0

    until(delivered)
    found = behind.read(Topic.ALERTS, 3)
    # The stranded client's requests do reach the broker: at least once.
    assert [b"one", b"two", b"three"] == list(dict.fromkeys(found))


def test_a_bridge_takes_posts_again_without_a_restart(behind: Behind) -> None:
    async def play() -> None:
        producer = ConfirmedProducer(behind.settings, NAMES, timeout_s=5)
        await producer.send(Emit(Topic.RAW, None, b"one"))
        behind.proxy.strand()
        await asyncio.sleep(6)  # what it heard last says that it lives
        deadline = time.monotonic() + WITHIN_S
        while not await asyncio.to_thread(producer.alive):
            assert time.monotonic() < deadline
        await producer.send(Emit(Topic.RAW, None, b"two"))
        await asyncio.to_thread(producer.close, 5.0)

    asyncio.run(play())
    assert [b"one", b"two"] == behind.read(Topic.RAW, 2)


def test_no_client_is_blamed_while_the_cluster_answers_nobody() -> None:
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    now = 0.0
    line = lifeline.Lifeline(nobody, "t", clock=lambda: now)
    client = admin_client("127.0.0.1:1")
    for _ in range(6):
        now += 10
        assert not line.is_cut(client)  # type: ignore[arg-type]
