"""The broker as ``ports.Log``: makes the clients of one role, and answers questions about topics."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stagepost.edges.admin import topic_settings
from stagepost.edges.consumers import KafkaIntake, KafkaStateReader
from stagepost.edges.errors import MissingTopics, Outdated, Stop, Unstable, of_kafka
from stagepost.edges.ports import Bounds
from stagepost.edges.producers import KafkaProducer, KafkaPublisher
from stagepost.edges.topics import TopicNames
from stagepost.edges.versions import KAFKA
from stagepost.engine.plan import Topic

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 10.0
"""For questions at start and restore; a broker that takes longer is away."""


_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""Sixteen zero bytes: what a broker before topic ids, hence before 3.6, is described with."""

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach the broker, and the times of group and transactions (tests take shorter ones)."""

    bootstrap_servers: str
    librdkafka: Mapping[str, Any] = field(default_factory=dict)
    """Raw keys, for TLS and SASL. What the protocol owns is set after them."""
    session_timeout_ms: int = 15_000
    max_poll_interval_ms: int = 120_000
    transaction_timeout_ms: int = 15_000
    message_timeout_ms: int = 10_000
    """Below the transaction timeout: a record that was given up fails its transaction, not the next one."""
    static_member: str | None = None
    """A name makes the membership static: a restart within the session timeout causes no rebalance."""

    def base(self) -> dict[str, Any]:
        return {**self.librdkafka, "bootstrap.servers": self.bootstrap_servers}

    def consumer(self) -> dict[str, Any]:
        settings = {
            **self.base(),
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": max(300, self.session_timeout_ms // 5),
            "max.poll.interval.ms": self.max_poll_interval_ms,
        }
        if self.static_member is not None:
            settings["group.instance.id"] = self.static_member
        return settings

    def producer(self) -> dict[str, Any]:
        return {
            **self.base(),
            "transaction.timeout.ms": self.transaction_timeout_ms,
            "message.timeout.ms": self.message_timeout_ms,
        }


class KafkaLog:
    """``ports.Log`` for one role. ``instance`` must be unique among living processes."""

    def __init__(self, settings: KafkaSettings, role: str, instance: str, prefix: str, input_topic: Topic) -> None:
        self._settings = settings
        self._names = TopicNames(prefix)
        self._input = input_topic
        self._group = self._names.group(role)
        self._transactional_id = self._names.transactional_id(role, instance)
        self._admin = self._new_admin()

    def partitions(self, topics: Sequence[Topic]) -> Mapping[Topic, int]:
        servers = self._settings.bootstrap_servers
        with _asking(f"listing the topics of Kafka at {servers} (setting kafka.bootstrap_servers)"):
            known = self._admin.list_topics(timeout=_ASK_S).topics
        counts = {topic: len(found.partitions) for topic in topics if (found := known.get(self._names.full(topic)))}
        missing = [self._names.full(topic) for topic in topics if not counts.get(topic)]
        if missing:
            raise MissingTopics(missing)
        return counts

    def topic_id(self, topic: Topic) -> str:
        name = self._names.full(topic)
        with _asking(f"asking for the id of {name}"):
            cluster = self._admin.list_topics(name, timeout=_ASK_S)
            if cluster.controller_id not in cluster.brokers:
                # librdkafka's in-process broker has no controller, and the question would wait for one for a minute.
                return cluster.cluster_id or ""
            described = self._admin.describe_topics(TopicCollection([name]), request_timeout=_ASK_S)[name].result()
        topic_id = str(described.topic_id)
        if topic_id == _NO_ID:
            raise Outdated(f"the brokers at {self._settings.bootstrap_servers} give topics no id: {KAFKA}")
        return topic_id

    def tombstones_stay_s(self, topic: Topic) -> float | None:
        name = self._names.full(topic)
        try:
            cluster = self._admin.list_topics(name, timeout=_ASK_S)
            if cluster.controller_id not in cluster.brokers:
                return None  # as in ``topic_id``
            found = topic_settings(self._admin, [name]).get(name, {}).get("delete.retention.ms")
        except KafkaException as error:
            _LOGGER.info("the settings of %s are not told: %s", name, error.args[0].str())
            return None
        return None if found is None else int(found) / 1000

    def bounds(self, topic: Topic, partition: int) -> Bounds:
        place = TopicPartition(self._names.full(topic), partition)

        def ask(spec: OffsetSpec, isolation: IsolationLevel) -> int:
            answer = self._admin.list_offsets({place: spec}, isolation_level=isolation, request_timeout=_ASK_S)
            return int(answer[place].result().offset)

        try:
            with _asking(f"asking for the ends of {place.topic}[{partition}]"):
                return Bounds(
                    low=ask(_EARLIEST, IsolationLevel.READ_UNCOMMITTED),
                    stable=ask(_LATEST, IsolationLevel.READ_COMMITTED),
                    high=ask(_LATEST, IsolationLevel.READ_UNCOMMITTED),
                )
        except Unstable:
            # Once leadership has moved, librdkafka 2.16 asks with the epoch in its cache for ever (seen after a broker
            # was away for 5 s: FENCED_LEADER_EPOCH without end). A new client has an empty cache.
            self._admin = self._new_admin()
            raise

    def intake(self, topic: Topic) -> KafkaIntake:
        return KafkaIntake(self._settings.consumer(), self._group, self._names, topic)

    def producer(self) -> KafkaProducer:
        return KafkaProducer(self._settings.producer(), self._transactional_id, self._names, self._input)

    def publisher(self) -> KafkaPublisher:
        return KafkaPublisher(self._settings.base(), self._names)

    def reader(self, topic: Topic) -> KafkaStateReader:
        return KafkaStateReader(self._settings.base(), self._names, topic)

    def _new_admin(self) -> AdminClient:
        return AdminClient(self._settings.base(), logger=_LOGGER)


@contextmanager
def _asking(doing: str) -> Iterator[None]:
    try:
        yield
    except KafkaException as raised:
        error = raised.args[0]
        routed = of_kafka(error, doing) if isinstance(error, KafkaError) else None
        if routed is None:
            raise
        if isinstance(routed, Stop):
            raise routed from raised
        raise Unstable(str(routed)) from raised
