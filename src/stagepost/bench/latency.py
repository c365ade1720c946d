"""``stagepost bench latency``: from the append of an event to its transition at a read_committed consumer.

A paced generator in a process of its own, the role ``journey`` with Redis on its core, a reader. Both times are of the
clock on the wall of this machine: the broker's LogAppendTime of the event, and the moment at which the reader has the
transition in hand. Moves that a timer made have no such event and are left out; so is a warm-up.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stagepost.bench import stream, usage
from stagepost.bench.measure import machine
from stagepost.bench.rig import PARTITIONS, JobFailed, Progress, Rig
from stagepost.edges.consumers import STATE_READER
from stagepost.edges.local_kafka import KAFKA_VERSION
from stagepost.edges.processes import role_command
from stagepost.engine.plan import Topic

GOAL_P99_MS = 250.0

WARM_S = 5.0
"""Of a run, at its start: caches are cold, and the group has just been joined. At most a third of it."""

_PREPARE_S = 300.0
_LATE_S = 60.0
"""For what is still under way when the generator has ended."""


class _Cause(msgspec.Struct):
    id: str


class _Transition(msgspec.Struct):
    cause: _Cause | None


class _Event(msgspec.Struct):
    id: str


_transition = msgspec.json.Decoder(_Transition).decode
_event = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True)
class LatencyReport:
    """Milliseconds, one for each transition that an event caused."""

    delays_ms: tuple[float, ...]
    rate: int
    seconds: float
    warm_s: float
    behind_s: float
    """By how much the generator fell behind its pace at worst: then the figures are of this machine, not of ours."""
    cpu_us: float
    """CPU of the worker per event, start and warm-up left out."""
    load: tuple[float, float]
    redis: str
    cores_apart: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "bench": "latency",
            "machine": machine(),
            "kafka": KAFKA_VERSION,
            "redis": self.redis,
            "load_1m": list(self.load),
            "cores_apart": self.cores_apart,
            "rate": self.rate,
            "seconds": self.seconds,
            "warm_s": self.warm_s,
            "generator_behind_s": self.behind_s,
            "transitions": len(self.delays_ms),
            "cpu_us": round(self.cpu_us, 1),
            "p50_ms": round(quantile(self.delays_ms, 0.5), 1),
            "p99_ms": round(quantile(self.delays_ms, 0.99), 1),
            "max_ms": round(max(self.delays_ms), 1),
            "goal_p99_ms": GOAL_P99_MS,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed.

    >>> quantile([4.0, 1.0, 3.0, 2.0], 0.5), quantile([4.0, 1.0, 3.0, 2.0], 0.99)
    (2.0, 4.0)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def delays(appended_ms: Mapping[str, int], seen: Iterable[tuple[str, float]], from_ms: float) -> tuple[float, ...]:
    """For each seen transition (event id, wall milliseconds) how long its event, appended from ``from_ms`` on, took.

    >>> delays({"a": 10, "b": 20}, [("a", 15.0), ("b", 22.5)], from_ms=20)
    (2.5,)
    """
    return tuple(at - appended_ms[cause] for cause, at in seen if appended_ms[cause] >= from_ms)


def bench_latency(
    rate: int,
    seconds: float,
    seed: int,
    kafka: str | None = None,
    redis_url: str | None = None,
    progress: Progress = lambda what, done, of: None,
) -> LatencyReport:
    """One run of ``seconds``. Raises JobFailed when something ends early or not all comes out."""
    count = round(rate * seconds)
    before = os.getloadavg()[0]
    with Rig(kafka, redis_url) as rig:
        rig.fresh_installation()
        folder = rig.group.subfolder("journeys")
        Path(folder, "bench.yaml").write_text(stream.WHOLE)
        log = Path(folder, "worker.log")
        with usage.on(rig.cores.worker):
            argv = role_command("journey", "--port", "0", "--json")
            worker = rig.group.start("journey", argv, rig.installation(str(folder)), log, folder)
        events, group = rig.names.full(Topic.EVENTS), rig.names.group("journey")
        with usage.on(rig.cores.broker), _reader(rig, rig.names.full(Topic.TRANSITIONS)) as reader:
            arguments = [rig.bootstrap, events, str(count), str(rate), str(seed)]
            generator = subprocess.Popen(
                [sys.executable, "-m", "stagepost.bench.generator", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert generator.stdin is not None
                assert generator.stdout is not None
                progress("preparing", 0, count)
                if generator.stdout.readline().strip() != "ready":
                    raise JobFailed("the generator did not start")
                began = time.time()
                generator.stdin.write("go\n")
                generator.stdin.flush()
                warm_s = min(WARM_S, seconds / 3)
                seen: list[tuple[str, float]] = []
                warm: tuple[int, float] | None = None
                done = 0
                looked = 0.0
                while done < count:
                    now = time.time()
                    seen += _read(reader)
                    if worker.poll() is not None:
                        raise JobFailed(f"journey ended with code {worker.poll()}:\n{worker.tail()}")
                    if now > began + seconds + _LATE_S:
                        raise JobFailed(f"only {done} of {count} events were done in time:\n{worker.tail()}")
                    if now - looked > 1.0:
                        done, looked = rig.committed(group, events), now
                        if warm is None and now - began >= warm_s:
                            warm = done, usage.cpu_s([worker.pid])
                        progress("measuring", done, count)
                assert warm is not None
                cpu_us = (usage.cpu_s([worker.pid]) - warm[1]) / max(1, count - warm[0]) * 1e6
                seen += _read(reader)
                told = generator.stdout.readline().split()
            finally:
                generator.kill()
                generator.wait()
        worker.stop(10)
        if told[-1] != "0":
            raise JobFailed("the broker did not take all events")
        found = delays(_appended(rig, events), seen, (began + warm_s) * 1000)
        if not found:
            raise JobFailed("no event behind the warm-up moved anybody: let it run for longer")
        after = os.getloadavg()[0]
        apart = rig.cores.apart and kafka is None
        return LatencyReport(
            found, rate, seconds, warm_s, float(told[1]), cpu_us, (before, after), rig.redis_version(), apart
        )


class _reader:
    """A read_committed consumer of a whole topic, from its beginning."""

    def __init__(self, rig: Rig, topic: str) -> None:
        own = {"bootstrap.servers": rig.bootstrap, "enable.partition.eof": False, "fetch.wait.max.ms": 500}
        self._consumer = Consumer({**STATE_READER, **own, "log_level": 0})
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def __enter__(self) -> Consumer:
        return self._consumer

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _read(reader: Consumer) -> list[tuple[str, float]]:
    """Event ids of the transitions that have come, with the wall time at which they are in hand."""
    first = reader.poll(0.05)
    if first is None:
        return []
    messages = [first, *reader.consume(10_000, 0)]
    at = time.time() * 1000
    found = []
    for message in messages:
        error = message.error()
        if error is not None:
            raise KafkaException(error)
        cause = _transition(message.value() or b"").cause
        if cause is not None:
            found.append((cause.id, at))
    return found


def _appended(rig: Rig, topic: str) -> dict[str, int]:
    """When each event was appended, by the broker, in milliseconds; of a repeat the first."""
    consumer = Consumer({**STATE_READER, "bootstrap.servers": rig.bootstrap, "log_level": 0})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    found: dict[str, int] = {}
    ended = 0
    try:
        while ended < PARTITIONS:
            for message in consumer.consume(5_000, 0.2):
                error = message.error()
                if error is None:
                    found.setdefault(_event(message.value() or b"").id, message.timestamp()[1])
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return found
