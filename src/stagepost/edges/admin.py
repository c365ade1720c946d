"""The topics of an installation: what they must be, making them, comparing them.

Used by ``stagepost topics`` and the tests. Workers never create topics; they only ask what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from stagepost.engine.plan import Topic

DAY_MS = 24 * 3600 * 1000

DEFAULT_PARTITIONS = 12
DEFAULT_TALLY_PARTITIONS = 4
MAX_REPLICATION = 3

_ANSWER_S = 5.0
"""For one answer of the cluster."""

_GROUPS_S = 10.0
"""For their coordinators."""

_CREATION_S = 30.0
"""For all topics to be made and led."""


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)}


# What these topics could hold, and beside it why and from where.
_DEAD_LETTERS = _kept(14) | {"max.message.bytes": str(10 << 20)}

_COMPACTED = {
    "cleanup.policy": "compact",
    # An erased or replaced value is gone from disk after a day at the latest.
    "max.compaction.lag.ms": str(DAY_MS),
    # A mirror that slept for less than half of this still sees every tombstone (delivery.md 4).
    "delete.retention.ms": str(3 * DAY_MS),
}

# The partition clock takes broker time, which a producer's clock must not be able to move.
_BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}

# Bodies of up to 8 MiB, with their headers.
_BODIES = {"max.message.bytes": str(9 << 20)}

CONFIGS: Mapping[Topic, Mapping[str, str]] = MappingProxyType(
    {
        Topic.RAW: _kept(7) | _BODIES,
        Topic.RAW_DLQ: _DEAD_LETTERS,
        # Far more than an event may have: what the broker refused would be a loss that no sum shows, and not oversize.
        Topic.EVENTS: _kept(30) | _BROKER_TIME | _BODIES,
        Topic.EVENTS_DLQ: _DEAD_LETTERS,
        Topic.TRANSITIONS: _kept(30),
        Topic.CONTACTS: _COMPACTED,
        Topic.STATE: _COMPACTED | _BROKER_TIME,
        # One record holds all deltas of a batch: a backfill of one campaign over months exceeds Kafka's 1 MiB.
        Topic.TALLIES: _kept(7) | _BROKER_TIME | _BODIES,
        Topic.TALLIES_DLQ: _DEAD_LETTERS,
        Topic.ROLLUP: _COMPACTED | _BROKER_TIME,
        Topic.METRICS: _kept(90),
        Topic.ALERTS: _COMPACTED | {"cleanup.policy": "compact,delete", "retention.ms": str(30 * DAY_MS)},
        Topic.ALERTS_DLQ: _DEAD_LETTERS,
    }
)
"""Settings of every topic (design.md 3, delivery.md 2), without those that depend on the number of brokers."""

_LIKE_TALLIES = frozenset({Topic.TALLIES, Topic.TALLIES_DLQ, Topic.ROLLUP})
"""Partitioned by scope; all others by contact, or by nothing that matters."""

SAME_COUNT: Mapping[Topic, Topic] = MappingProxyType(
    {Topic.STATE: Topic.EVENTS, Topic.CONTACTS: Topic.EVENTS, Topic.ROLLUP: Topic.TALLIES}
)
"""Topics that must have exactly as many partitions as another one."""


@dataclass(frozen=True)
class TopicSpec:
    """What a topic is to be. ``name`` has the prefix."""

    topic: Topic
    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


class Made(StrEnum):
    """What ``create_topics`` did about one topic."""

    CREATED = "created"
    EXISTS = "exists"
    WOULD_CREATE = "would create"


@dataclass(frozen=True)
class Difference:
    """Where a topic is not what it is to be. ``found`` None: the topic is missing."""

    topic: str
    what: str
    expected: str
    found: str | None


def admin_client(bootstrap: str, librdkafka: Mapping[str, str] = MappingProxyType({})) -> AdminClient:
    """A client for the calls below; connects on first use. ``librdkafka``: security and the like."""
    # Silent: what goes wrong is raised, and the client's own lines repeat every 50 ms.
    return AdminClient({"bootstrap.servers": bootstrap, "client.id": "stagepost-admin", "log_level": 0, **librdkafka})


def plan_topics(
    client: AdminClient, prefix: str, partitions: int | None, tally_partitions: int | None, replication: int | None
) -> tuple[TopicSpec, ...]:
    """What every topic is to be on this cluster.

    A count not given is that of the existing ``email.events`` or ``stagepost.tallies``, else the default; replication
    not given is min(3, brokers). Raises KafkaException when no broker answers.
    """
    metadata = client.list_topics(timeout=_ANSWER_S)
    factor = replication or min(MAX_REPLICATION, len(metadata.brokers))

    def existing(topic: Topic, default: int) -> int:
        found = metadata.topics.get(prefix + topic)
        return len(found.partitions) if found is not None and found.error is None else default

    return topic_specs(
        prefix,
        partitions or existing(Topic.EVENTS, DEFAULT_PARTITIONS),
        tally_partitions or existing(Topic.TALLIES, DEFAULT_TALLY_PARTITIONS),
        factor,
    )


def topic_specs(prefix: str, partitions: int, tally_partitions: int, replication: int) -> tuple[TopicSpec, ...]:
    """What every topic is to be, for given counts; ``min.insync.replicas`` is one less than the replication."""
    in_sync = {"min.insync.replicas": str(max(1, replication - 1))}
    return tuple(
        TopicSpec(
            topic,
            prefix + topic,
            tally_partitions if topic in _LIKE_TALLIES else partitions,
            replication,
            MappingProxyType({**config, **in_sync}),
        )
        for topic, config in CONFIGS.items()
    )


def create_topics(client: AdminClient, specs: Sequence[TopicSpec]) -> dict[str, Made]:
    """Make what is missing and wait until it can be used; existing topics stay as they are. By name, in order.

    Raises KafkaException (no permission, a replication above the number of brokers, no broker).
    """
    missing = set(missing_topics(client, [spec.name for spec in specs]))
    made = {spec.name: Made.CREATED if spec.name in missing else Made.EXISTS for spec in specs}
    wanted = [
        NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config))
        for spec in specs
        if spec.name in missing
    ]
    if wanted:
        for name, future in client.create_topics(wanted, operation_timeout=_CREATION_S).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                made[name] = Made.EXISTS
        _wait_for_leaders(client, [spec for spec in specs if spec.name in missing])
    return made


def would_create(client: AdminClient, specs: Sequence[TopicSpec]) -> dict[str, Made]:
    """What ``create_topics`` would do."""
    missing = set(missing_topics(client, [spec.name for spec in specs]))
    return {spec.name: Made.WOULD_CREATE if spec.name in missing else Made.EXISTS for spec in specs}


def missing_topics(client: AdminClient, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that do not exist, in order. Raises KafkaException when no broker answers."""
    found = client.list_topics(timeout=_ANSWER_S).topics
    return [name for name in names if name not in found]


def check_topics(client: AdminClient, specs: Sequence[TopicSpec]) -> list[Difference]:
    """Where the topics are not what they are to be: missing, partitions, settings. Empty when all is well."""
    metadata = client.list_topics(timeout=_ANSWER_S)
    there = [spec for spec in specs if spec.name in metadata.topics]
    configs = _describe(client, [spec.name for spec in there])
    counts = {spec.topic: len(metadata.topics[spec.name].partitions) for spec in there}
    differences = []
    for spec in specs:
        if spec not in there:
            differences.append(Difference(spec.name, "topic", "exists", None))
            continue
        expected, count = _expected_count(spec, counts), counts[spec.topic]
        if expected not in (None, count):
            differences.append(Difference(spec.name, "partitions", str(expected), str(count)))
        differences += [
            Difference(spec.name, key, value, configs[spec.name].get(key))
            for key, value in spec.config.items()
            if not _fits(key, value, configs[spec.name].get(key))
        ]
    return differences


def topic_settings(client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """All settings in force of each topic that exists, defaults of the brokers included. Raises KafkaException."""
    missing = set(missing_topics(client, names))
    return _describe(client, [name for name in names if name not in missing])


def delete_topics(client: AdminClient, names: Collection[str]) -> None:
    """Delete topics; those that do not exist are passed over. Raises KafkaException for any other reason."""
    if not names:
        return
    for future in client.delete_topics(list(names), operation_timeout=_CREATION_S).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def group_members(client: AdminClient, groups: Sequence[str]) -> dict[str, int]:
    """How many members each group has. Raises KafkaException when no broker answers."""
    members = {}
    for name, future in client.describe_consumer_groups(list(groups), request_timeout=_GROUPS_S).items():
        try:
            members[name] = len(future.result().members)
        except KafkaException:  # a group that does not exist is an error since Kafka 4
            members[name] = 0
    return members


def _expected_count(spec: TopicSpec, counts: Mapping[Topic, int]) -> int | None:
    """Partitions that a topic must have beside the ``counts`` of the others; None: any number will do."""
    if spec.topic in SAME_COUNT:
        return counts.get(SAME_COUNT[spec.topic], spec.partitions)
    return spec.partitions if spec.topic in SAME_COUNT.values() else None


def _fits(key: str, expected: str, found: str | None) -> bool:
    """Settings are equal as sets: brokers return the two words of a policy in an order of their own. Tombstones may
    stay for longer than they have to."""
    if found is None:
        return False
    if key == "delete.retention.ms":
        return int(found) >= int(expected)
    return set(expected.split(",")) == set(found.split(","))


def _describe(client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    return {
        resource.name: {key: entry.value for key, entry in future.result(timeout=_ANSWER_S).items()}
        for resource, future in answers.items()
    }


def _wait_for_leaders(client: AdminClient, specs: Sequence[TopicSpec]) -> None:
    """CreateTopics answers before every broker knows; a producer that asks too early gets an error."""
    deadline = time.monotonic() + _CREATION_S
    while time.monotonic() < deadline:
        topics = client.list_topics(timeout=_ANSWER_S).topics
        if all(spec.name in topics and _led(topics[spec.name].partitions.values()) for spec in specs):
            return
        time.sleep(0.05)


def _led(partitions: Iterable[object]) -> bool:
    return all(getattr(partition, "leader", -1) >= 0 for partition in partitions)
