"""The broker and the Redis that a bench runs on, the topics in it, and processes measured on it.

Our own servers run on the broker's core, what is measured on the other. May not contain: what is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import redis
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from stagepost.bench import usage
from stagepost.bench.usage import Sample, Taken
from stagepost.edges.admin import admin_client, create_topics, delete_topics, topic_specs
from stagepost.edges.cleanup import remove_from_kafka, remove_from_redis
from stagepost.edges.consumers import STATE_READER
from stagepost.edges.group_offsets import GroupOffsets
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import start_local_redis
from stagepost.edges.processes import Child, ProcessGroup
from stagepost.edges.producers import COMMON
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic

PREFIX = "stagepost-bench."
PARTITIONS = 8
_TALLY_PARTITIONS = 4

_LOOK_S = 0.1
"""Between two looks at committed offsets: some milliseconds of the broker's core, and the error of a wall time."""

_ANSWER_S = 10.0

_STALLED_S = 180.0
"""Without progress for so long, the job hangs."""

_STOP_S = 5.0

_ROLES = ("journey",)

Progress = Callable[[str, int, int], None]
"""Takes what is under way, how many events of it are done, of how many."""


class JobFailed(Exception):
    """What was to be measured ended or hangs; the message has the end of its log."""


@dataclass(frozen=True)
class Started:
    """One process of a job."""

    argv: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """What a job took, and the most memory that its processes held."""

    taken: Taken
    peak_bytes: int


class Rig:
    """Servers from ``with`` to its end. ``kafka``, ``redis_url``: running ones, None for our own."""

    def __init__(self, kafka: str | None = None, redis_url: str | None = None) -> None:
        self._given_kafka, self._given_redis = kafka, redis_url
        self.names = TopicNames(PREFIX)
        self.cores = usage.own_cores()
        # Nothing of the user's own settings reaches what is measured.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
        self.group = ProcessGroup(environment=inherited)
        self._asking: dict[str, GroupOffsets] = {}
        """By group."""

    def __enter__(self) -> Self:
        try:
            with usage.on(self.cores.broker):
                # Members that start together join the same generation.
                together = {"group.initial.rebalance.delay.ms": "1000"}
                self.bootstrap = self._given_kafka or LocalKafka(self.group, together).bootstrap
                self.redis_url = self._given_redis or start_local_redis(self.group).url
            self.admin: AdminClient = admin_client(self.bootstrap)
            self.committed(self.names.group("journey"), self.names.full(Topic.EVENTS))  # once groups are loaded
        except BaseException:
            self.group.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._given_kafka is not None:
                self.remove_topics(lambda name: name.startswith(PREFIX))
                remove_from_kafka(self.admin, self.names, _ROLES)
            if self._given_redis is not None:
                self.empty_redis()
        finally:
            self.group.close()

    def installation(self, journeys: str) -> dict[str, str]:
        """The environment of our own roles here."""
        return {
            "STAGEPOST_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "STAGEPOST_REDIS__URL": self.redis_url,
            "STAGEPOST_PREFIX": PREFIX,
            "STAGEPOST_JOURNEYS": journeys,
            "STAGEPOST_IDENTITY__TENANT_KEY": "0" * 64,
            # A partition that is through early fires no timers while others go on: the moves would not be comparable.
            "STAGEPOST_ENGINE__IDLE_AFTER": "600",
        }

    def fresh_installation(self, keep: Collection[Topic] = ()) -> None:
        """Our topics as ``topics create`` makes them, all empty but those to ``keep``; no group, an empty Redis."""
        remove_from_kafka(self.admin, self.names, _ROLES, keep)
        create_topics(self.admin, topic_specs(PREFIX, PARTITIONS, _TALLY_PARTITIONS, replication=1))
        self.empty_redis()

    def empty_redis(self) -> None:
        """Remove what we and the peers keep there."""
        remove_from_redis(self.redis_url, PREFIX)
        with redis.Redis.from_url(self.redis_url) as client:
            for key in client.scan_iter(match=f"{PREFIX}*", count=1_000):
                client.unlink(key)

    def redis_version(self) -> str:
        """What serves as Redis, with its version."""
        with redis.Redis.from_url(self.redis_url) as client:
            found: Mapping[str, Any] = client.info("server")
        return str(found.get("redis_version", "unknown"))

    def make_topics(self, names: Iterable[str]) -> None:
        """New topics of ``PARTITIONS`` partitions."""
        wanted = [NewTopic(name, PARTITIONS, 1) for name in names]
        if wanted:
            for future in self.admin.create_topics(wanted, operation_timeout=20).values():
                future.result()

    def remove_topics(self, ours: Callable[[str], bool]) -> None:
        """Delete those topics of the broker that are ``ours`` by their name."""
        delete_topics(self.admin, [name for name in self.admin.list_topics(timeout=_ANSWER_S).topics if ours(name)])

    def producer(self) -> Producer:
        """For what has to lie in a topic before anything is measured: partitioned as companies should."""
        return Producer(
            {**COMMON, "bootstrap.servers": self.bootstrap, "linger.ms": 50, "enable.idempotence": True, "log_level": 0}
        )

    def committed(self, group: str, topic: str) -> int:
        """Sum of the committed offsets of a group, which in a fresh topic is the number of its events that are done."""
        asking = self._asking.get(group)
        if asking is None:
            asking = self._asking[group] = GroupOffsets({"bootstrap.servers": self.bootstrap}, group)
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                return sum(offset for offset, _ in asking.of(topic, range(PARTITIONS), _ANSWER_S).values())
            except KafkaException:
                # A broker that has just been asked for its first group loads what it knows of groups.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)

    def count(self, topic: str) -> int:
        """Records that a read_committed consumer sees in a topic now."""
        consumer = Consumer({**STATE_READER, "bootstrap.servers": self.bootstrap, "log_level": 0})
        consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
        ended: set[int | None] = set()
        found = 0
        try:
            while len(ended) < PARTITIONS:
                for message in consumer.consume(5_000, 0.2):
                    error = message.error()
                    if error is None:
                        found += 1
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()
        return found

    def measured(
        self,
        name: str,
        processes: Sequence[Started],
        cores: frozenset[int],
        done: Callable[[], int],
        total: int,
        progress: Callable[[int, int], None],
    ) -> Measured:
        """Start ``processes``, watch ``done`` go to ``total``, stop them. Raises JobFailed."""
        home = self.group.subfolder("job")
        with usage.on(cores):
            children = [
                self.group.start(name, each.argv, each.environment, home / f"{number}.log", home)
                for number, each in enumerate(processes)
            ]
        try:
            return _watched(name, children, done, total, progress)
        finally:
            for child in children:
                child.stop(_STOP_S)


def _watched(
    name: str, children: Sequence[Child], done: Callable[[], int], total: int, progress: Callable[[int, int], None]
) -> Measured:
    pids = [child.pid for child in children]
    samples: list[Sample] = []
    moved_at = time.monotonic()
    while not samples or samples[-1].done < total:
        time.sleep(_LOOK_S)
        for child in children:
            if child.poll() is not None:
                raise JobFailed(f"{name} ended with code {child.poll()}:\n{child.tail()}")
        committed, now = done(), time.monotonic()
        if not samples or committed > samples[-1].done:
            moved_at = now
        elif now - moved_at > _STALLED_S:
            raise JobFailed(f"{name} stands at {committed} of {total} events:\n{children[0].tail()}")
        samples.append(Sample(now, committed, usage.cpu_s(pids)))
        progress(min(committed, total), total)
    return Measured(usage.between_commits(samples, total), usage.peak_bytes(pids))
