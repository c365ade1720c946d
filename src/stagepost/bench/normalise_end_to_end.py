"""The ``normalise`` role as it is run, on a broker of its own: bodies on ``email.raw`` to committed canonical events.

Beside it a plain loop that reads the same bodies, takes their JSON apart and writes each element: no transaction, no
rule. CPU is of the worker's process, all its threads; the broker's is not counted. May not contain: the product's code
under measure.
"""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stagepost.bench import usage
from stagepost.bench.measure import Figure
from stagepost.edges.admin import admin_client, create_topics, topic_specs
from stagepost.edges.group_offsets import GroupOffsets
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_servers import HOST, LocalServerError, free_ports, wait_until
from stagepost.edges.processes import ProcessGroup, role_command
from stagepost.edges.producers import COMMON
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic
from stagepost.events import rfc3339

PARTITIONS = 8
_LOOK_S = 0.02
_GIVE_UP_S = 300.0

Bodies = Sequence[tuple[int, bytes]]
"""Webhook posts: when they arrived, in micros, and what they hold."""


@dataclass(frozen=True)
class EndToEnd:
    """What was measured on the broker; ``skipped`` says why nothing was."""

    plain: Figure | None = None
    worker: Figure | None = None
    skipped: str | None = None


def measure_end_to_end(
    bodies: Bodies, events: int, rounds: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> EndToEnd:
    """Both jobs ``rounds`` times in turn. Without a broker, or a system that tells CPU times, it is skipped."""
    if not usage.readable():
        return EndToEnd(skipped="the CPU time of another process is read from /proc, which this system lacks")
    plain: list[tuple[float, float]] = []
    worker: list[tuple[float, float]] = []
    # Nothing of the user's own settings reaches the worker.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
    with ProcessGroup(environment=inherited) as group:
        try:
            bootstrap = LocalKafka(group).bootstrap
        except LocalServerError as error:
            return EndToEnd(skipped=str(error))
        admin = admin_client(bootstrap)
        for number in range(rounds):
            place = _Place(bootstrap, f"bench-{number}.")
            create_topics(admin, topic_specs(place.prefix, PARTITIONS, 1, replication=1))
            try:
                worker.append(_worker(group, admin, place, bodies))
            except LocalServerError as error:
                return EndToEnd(skipped=str(error))
            progress(2 * number + 1, 2 * rounds)
            plain.append(_plain_loop(place, len(bodies)))
            progress(2 * number + 2, 2 * rounds)
    return EndToEnd(_figure("plain loop", events, plain), _figure("run normalise", events, worker))


@dataclass(frozen=True)
class _Place:
    """Where one round takes place: its own topics and group."""

    bootstrap: str
    prefix: str

    @property
    def names(self) -> TopicNames:
        return TopicNames(self.prefix)


def _figure(name: str, events: int, taken: Sequence[tuple[float, float]]) -> Figure:
    cpu, wall = zip(*taken, strict=True)
    return Figure(name, events, tuple(s / events * 1e6 for s in cpu), tuple(s / events * 1e6 for s in wall))


def _worker(group: ProcessGroup, admin: AdminClient, place: _Place, bodies: Bodies) -> tuple[float, float]:
    """Seconds of CPU and on the wall from the first body to the last commit.

    The worker starts on an empty topic and is frozen while the bodies are laid there, so that neither its start nor
    our producing is part of the figure.
    """
    [port] = free_ports(1)
    environment = {
        "STAGEPOST_KAFKA__BOOTSTRAP_SERVERS": place.bootstrap,
        "STAGEPOST_PREFIX": place.prefix,
        "STAGEPOST_IDENTITY__TENANT_KEY": "0" * 64,
    }
    folder = group.subfolder("normalise")
    command = role_command("normalise", "--port", str(port), "--quiet")
    child = group.start("normalise", command, environment, folder / "log", folder)
    wait_until(child, lambda: _ready(port), within_s=90)
    child.send(signal.SIGSTOP)
    try:
        _lay(place, bodies)
        cpu_began, began = usage.cpu_s([child.pid]), time.perf_counter()
    finally:
        child.send(signal.SIGCONT)
    offsets = GroupOffsets({"bootstrap.servers": place.bootstrap}, place.names.group("normalise"))
    try:
        while _committed(offsets, place) < len(bodies):
            if child.poll() is not None or time.perf_counter() - began > _GIVE_UP_S:
                raise LocalServerError(f"the worker ended or hangs:\n{child.tail()}")
            time.sleep(_LOOK_S)
        taken = usage.cpu_s([child.pid]) - cpu_began, time.perf_counter() - began
    finally:
        offsets.close()
    child.stop(30)
    return taken


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _lay(place: _Place, bodies: Bodies) -> None:
    """Publish the bodies as a bridge does, spread over the partitions."""
    producer = Producer({**COMMON, "bootstrap.servers": place.bootstrap})
    for number, (at, body) in enumerate(bodies):
        headers: dict[str, str | bytes | None] = {"provider": b"sendgrid", "received_at": rfc3339(at).encode()}
        producer.produce(place.names.full(Topic.RAW), body, headers=headers, partition=number % PARTITIONS)
        producer.poll(0)
    if producer.flush(60):
        raise LocalServerError("the broker did not take the bodies within 60 s")


def _committed(offsets: GroupOffsets, place: _Place) -> int:
    found = offsets.of(place.names.full(Topic.RAW), range(PARTITIONS), 10)
    return sum(offset for offset, _ in found.values())


def _plain_loop(place: _Place, bodies: int) -> tuple[float, float]:
    consumer = Consumer(
        {
            "bootstrap.servers": place.bootstrap,
            "group.id": f"{place.prefix}plain",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer({**COMMON, "bootstrap.servers": place.bootstrap})
    topic, decode, encode = place.names.full(Topic.EVENTS), msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    consumer.assign([TopicPartition(place.names.full(Topic.RAW), number, 0) for number in range(PARTITIONS)])
    cpu_began, began = time.process_time(), time.perf_counter()
    read = 0
    while read < bodies:
        for message in consumer.consume(500, 1):
            if message.error():
                raise LocalServerError(str(message.error()))
            for element in decode(message.value() or b"[]"):
                while True:
                    try:
                        producer.produce(topic, encode(element), element["contact_id"])
                        break
                    except BufferError:
                        producer.poll(0.1)
            read += 1
        producer.poll(0)
    producer.flush(60)
    consumer.commit(asynchronous=False)
    taken = time.process_time() - cpu_began, time.perf_counter() - began
    consumer.close()
    return taken
