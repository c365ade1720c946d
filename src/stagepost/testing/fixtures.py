"""pytest fixtures over a real Kafka and Redis: ``pytest_plugins = ["stagepost.testing.fixtures"]``.

One server of each kind serves the whole session; tests keep apart by a prefix of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from stagepost.edges.admin import admin_client, create_topics, delete_topics, topic_specs
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis
from stagepost.edges.processes import ProcessGroup
from stagepost.testing import servers
from stagepost.testing.servers import KafkaServer, RedisServer

MakeTopics = Callable[..., str]


@pytest.fixture(scope="session")
def process_group() -> Iterator[ProcessGroup]:
    """Where to start processes that must not outlive the session."""
    with ProcessGroup(grace_s=2) as group:
        yield group


@pytest.fixture(scope="session")
def kafka(process_group: ProcessGroup) -> Iterator[KafkaServer]:
    """A real Kafka: ``bootstrap``, ``kind``."""
    with servers.kafka_server(process_group) as server:
        yield server


@pytest.fixture(scope="session")
def breakable_kafka(process_group: ProcessGroup, kafka: KafkaServer) -> Iterator[LocalKafka]:
    """A real Kafka for tests of faults; each test leaves it running. It is ``kafka`` where that is local."""
    if isinstance(kafka, LocalKafka):
        yield kafka
        return
    with servers.local_kafka(process_group, []) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(process_group: ProcessGroup) -> Iterator[RedisServer]:
    """A real Redis: ``url``, ``kind``, ``flush``."""
    with servers.redis_server(process_group) as server:
        yield server


@pytest.fixture(scope="session")
def breakable_redis(process_group: ProcessGroup, redis_server: RedisServer) -> Iterator[LocalRedis]:
    """A real Redis for tests of faults; each test leaves it running. It is ``redis_server`` where that is local."""
    if isinstance(redis_server, LocalRedis):
        yield redis_server
        return
    with servers.local_redis(process_group, []) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis database."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test has. It is the prefix of group ids and Redis keys too."""
    return f"t{uuid.uuid4().hex[:10]}."


@pytest.fixture
def make_topics(kafka: KafkaServer) -> Iterator[MakeTopics]:
    """``make_topics(prefix, partitions=4, tally_partitions=2)`` makes all topics; they are deleted after the test."""
    client = admin_client(kafka.bootstrap)
    names: list[str] = []

    def make(prefix: str, partitions: int = 4, tally_partitions: int = 2) -> str:
        specs = topic_specs(prefix, partitions, tally_partitions, replication=1)
        names.extend(spec.name for spec in specs)
        create_topics(client, specs)
        return prefix

    yield make
    delete_topics(client, names)
