"""Whole roles as processes on a real broker, and what an ordinary client reads: for the integration tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stagepost.edges.local_servers import free_ports

TENANT_KEY = "0123456789abcdef0123456789abcdef"

SHORT_TIMES = {
    "session.timeout.ms": "2000",
    "message.timeout.ms": "4000",
    "transaction.timeout.ms": "5000",
    "max.poll.interval.ms": "20000",
}
"""Profile of the tests: a killed worker's partitions and transactions are free after seconds, not after 15.

``max.poll.interval.ms`` is also how long a group waits for members that died together with the broker: in some of its
starts Kafka 4.1.0 loads a group without timers for the sessions of its members (its log lacks ``Loaded classic group``
then), and only the next rebalance's timeout removes them."""


@dataclass
class Installation:
    """One installation under test: addresses, prefix, journeys; starts roles and reads topics."""

    bootstrap: str
    redis_url: str
    prefix: str
    journeys: Path
    logs: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        own = {
            "STAGEPOST_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "STAGEPOST_KAFKA__LIBRDKAFKA": json.dumps(SHORT_TIMES),
            "STAGEPOST_REDIS__URL": self.redis_url,
            "STAGEPOST_PREFIX": self.prefix,
            "STAGEPOST_JOURNEYS": str(self.journeys),
            "STAGEPOST_IDENTITY__TENANT_KEY": TENANT_KEY,
            # What a killed role could not clear away goes with the test.
            "TMPDIR": str(self.logs),
        }
        outside = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
        return {**outside, **own, **self.settings}

    def start(self, role: str, *options: str) -> Worker:
        [port] = free_ports(1)
        log = self.logs / f"{role}-{port}.log"
        command = [sys.executable, "-m", "stagepost", "run", role, "--port", str(port), *options]
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=self.env(), stdout=out, stderr=subprocess.STDOUT, cwd=self.logs)
        return Worker(role, process, port, log)

    @contextmanager
    def running(self, *roles: str) -> Iterator[list[Worker]]:
        """Roles that are ready, stopped in the end."""
        workers = [self.start(role) for role in roles]
        try:
            for worker in workers:
                worker.wait_ready()
            yield workers
        finally:
            for worker in workers:
                worker.stop()

    def cli(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a verb of the command line to its end."""
        command = [sys.executable, "-m", "stagepost", *words]
        return subprocess.run(command, env=self.env(), input=stdin, capture_output=True, cwd=self.logs, check=False)

    def topic(self, name: str) -> str:
        return self.prefix + name

    def produce(
        self,
        topic: str,
        records: Iterable[tuple[str | bytes | None, bytes | None, list[tuple[str, bytes]]]],
        compression: str = "none",
    ) -> None:
        """Publish (key, value, headers) as a company's producer should: murmur2 over the key."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "message.max.bytes": 100 << 20,
                "compression.type": compression,
            }
        )
        for key, value, headers in records:
            while True:
                try:
                    producer.produce(self.topic(topic), value, key, headers=headers)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0

    def read(self, topic: str) -> list[Read]:
        """Everything that a read_committed consumer sees in a topic now, by partition and offset."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 10 << 20,
            }
        )
        try:
            partitions = sorted(
                consumer.list_topics(self.topic(topic), timeout=20).topics[self.topic(topic)].partitions
            )
            consumer.assign([TopicPartition(self.topic(topic), p, 0) for p in partitions])
            waiting = set(partitions)
            read: list[Read] = []
            deadline = time.monotonic() + 60
            while waiting:
                assert time.monotonic() < deadline, f"{topic} was not read to its end"
                message = consumer.poll(1)
                if message is None:
                    continue
                if message.error():
                    waiting.discard(message.partition())
                    continue
                read.append(
                    Read(
                        message.partition(),
                        message.offset(),
                        message.timestamp()[1],
                        message.key(),
                        message.value(),
                        dict(message.headers() or []),
                        tuple(message.headers() or ()),
                    )
                )
            return sorted(read, key=lambda r: (r.partition, r.offset))
        finally:
            consumer.close()


@dataclass(frozen=True)
class Read:
    """One record as an ordinary client sees it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    header_list: tuple[tuple[str, bytes], ...] = ()
    """The same as they lie there: in their order, repeated names included."""

    def json(self) -> Any:
        return json.loads(self.value or b"null")


@dataclass
class Worker:
    """One role's process."""

    role: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, timeout_s: float = 60) -> None:
        wait_for(lambda: self.ready() or self.process.poll() is not None, timeout_s, f"{self.role} is ready", self.log)
        assert self.process.poll() is None, f"{self.role} ended with {self.process.returncode}: {self.tail()}"

    def metrics(self) -> dict[str, float]:
        """Samples by their text form, ``name{label="value"}``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }

    def total(self, metric: str, label: str = "") -> float:
        """Sum over the samples of a metric whose labels contain ``label``."""
        samples = self.metrics().items()
        return sum(value for name, value in samples if name.split("{")[0] == metric and label in name)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 40) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"{self.role} did not end within {timeout_s} s of SIGTERM: {self.tail()}"
                ) from None
        return self.process.returncode

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(errors="replace")[-size:]


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str, log: Path | None = None) -> None:
    """Poll until ``condition`` holds; fails naming ``what``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:] if log is not None else ""
            raise AssertionError(f"not within {timeout_s} s: {what}\n{tail}")
        time.sleep(0.1)


def by_partition(records: Sequence[Read]) -> dict[int, list[Read]]:
    """Records of a topic by partition, in order of offset."""
    found: dict[int, list[Read]] = {}
    for record in records:
        found.setdefault(record.partition, []).append(record)
    return found
