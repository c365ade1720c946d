"""What is attacked: one broker, one Redis, proxies before both, workers behind these, and events that keep coming."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaError, Message, Producer
from tests.faults.cluster import Cluster, Proxies
from tests.faults.generator import stream
from tests.faults.proxy import KafkaProxy, Proxy, proxied_kafka
from tests.faults.watch import Watch
from tests.integration.roles import SHORT_TIMES, Installation, Worker
from tests.integration.stream import JOURNEY

from stagepost.edges.admin import admin_client, create_topics, topic_specs
from stagepost.edges.failpoints import NAMES
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis, redis_binary
from stagepost.edges.processes import ProcessGroup
from stagepost.events import DAY, MICROS, murmur2_partition

PREFIX = "f."
PARTITIONS = 6
TALLY_PARTITIONS = 2

EVENT_TIME_DAYS = 9_000
"""Before now, where the stream begins: a wave takes a month of it, so that hours of faults stay in the past."""

TRANSACTION_TIMEOUT_S = int(SHORT_TIMES["transaction.timeout.ms"]) / 1000

_INSTANCE = re.compile(r'"instance": "(\w+)"')

_HIT = re.compile(r"^failpoint (\w+):(\w+)$", re.MULTILINE)


@dataclass
class Tally:
    """What the processes that ran until now had counted when we last asked, by metric."""

    seen: Counter[str] = field(default_factory=Counter)
    _last: dict[int, dict[str, float]] = field(default_factory=dict)

    def look(self, pid: int, metrics: Mapping[str, float]) -> None:
        before = self._last.get(pid, {})
        for name, value in metrics.items():
            if name.split("{")[0].endswith("_total"):
                self.seen[name] += int(value - before.get(name, 0.0))
        self._last[pid] = dict(metrics)


class Feeder:
    """Publishes the stream at a steady rate until it is stopped, whatever happens to the broker."""

    def __init__(self, bootstrap: str, seed: int, rate: float, start: int) -> None:
        self.ends: dict[int, int] = {}
        """By partition, the offset behind the last acknowledged event."""
        self.sent = 0
        self.failed: list[str] = []
        self._rate = rate
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 20,
                "log_level": 0,
            }
        )
        self._events = stream(seed, start)
        self._topic = f"{PREFIX}email.events"
        self._thread = threading.Thread(target=self._run, daemon=True, name="feeder")
        self._thread.start()

    def stop(self) -> None:
        """Returns when all is acknowledged."""
        self._stopping.set()
        self._thread.join(30)
        if left := self._producer.flush(90):
            self.failed.append(f"{left} events were not acknowledged")

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            for _ in range(max(1, int(self._rate / 10))):
                contact, body = next(self._events)
                # Explicit: murmur2_random agrees, and a wave that dies with the broker must not move.
                partition = murmur2_partition(contact.encode(), PARTITIONS)
                self._producer.produce(self._topic, body, contact, partition, on_delivery=self._delivered)
                self.sent += 1
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)


class Arena:
    """Everything under attack. A context; what it started ends with it. ``brokers``: 1 or 3."""

    def __init__(self, group: ProcessGroup, folder: Path, seed: int, rate: float, brokers: int = 1) -> None:
        self.folder = folder
        self.disk: Path | None = None
        """Where the servers' files lie, if that may be filled."""
        self.chance = random.Random(seed)
        self.kafka: LocalKafka | Cluster
        self.kafka_proxy: KafkaProxy | Proxies
        if brokers == 1:
            self.kafka, self.kafka_proxy = proxied_kafka(group)
        else:
            self.kafka = Cluster(group, seed)
            self.kafka_proxy = Proxies(self.kafka.proxies)
        self.redis = LocalRedis(group, redis_binary())
        self.redis_proxy = Proxy(self.redis.port)
        journeys = folder / "journeys"
        journeys.mkdir(parents=True)
        (journeys / "nurture.yaml").write_text(JOURNEY)
        # An idle partition must not run ahead of the input while it still comes in.
        settings = {"STAGEPOST_ENGINE__IDLE_AFTER": "3600", "STAGEPOST_ENGINE__BATCH": "150"}
        self.inside = Installation(self.kafka.bootstrap, self.redis.url, PREFIX, journeys, folder, settings)
        """As this suite reaches the servers: past the proxies."""
        self.outside = Installation(
            self.kafka_proxy.address, f"redis://{self.redis_proxy.address}/0", PREFIX, journeys, folder
        )
        """As the workers do."""
        self._settings = settings
        create_topics(
            admin_client(self.kafka.bootstrap), topic_specs(PREFIX, PARTITIONS, TALLY_PARTITIONS, replication=brokers)
        )
        self.workers: dict[str, Worker] = {}
        self._instances: dict[Path, str] = {}
        self.exits: Counter[str] = Counter()
        self.tally = Tally()
        self.failpoints: Counter[str] = Counter()
        self._numbers = count()
        self.reserved: set[str] = set()
        """Names of workers that a fault starts again by itself."""
        self.dumps: list[Path] = []
        """Of Redis, oldest first."""
        self.harmed: set[str] = set()
        """Servers that a fault has for itself."""
        self._read_logs: dict[Path, int] = {}
        self.watch = Watch(self.kafka.bootstrap, self.redis.url, PREFIX, PARTITIONS)
        self.feeder = Feeder(self.kafka.bootstrap, seed, rate, int(time.time()) * MICROS - EVENT_TIME_DAYS * DAY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.kill()
        self.watch.close()
        self.kafka_proxy.close()
        self.redis_proxy.close()

    def start(self, name: str, failpoint: str = "") -> Worker:
        """A worker; names that begin with ``r`` are of the role rollup. Like nearly all it has no name of its own: a
        static member that dies with the broker can hold the group up for as long as a rebalance may take."""
        role = "rollup" if name.startswith("r") else "journey"
        self.outside.settings = {**self._settings, **({"STAGEPOST_FAILPOINT": failpoint} if failpoint else {})}
        self.workers[name] = self.outside.start(role)
        return self.workers[name]

    def instance(self, name: str) -> str:
        """What a worker calls itself, as it says in its log; a word that nobody has until then."""
        log = self.workers[name].log
        if log not in self._instances:
            told = _INSTANCE.search(log.read_text(errors="replace"))
            if told is None:
                return "unknown"
            self._instances[log] = told[1]
        return self._instances[log]

    def fresh_name(self, kind: str) -> str:
        """For a worker that a fault has for itself, and starts and ends by itself."""
        name = f"{kind}{next(self._numbers)}"
        self.reserved.add(name)
        return name

    def ended(self, name: str) -> bool:
        return name not in self.workers or self.workers[name].process.poll() is not None

    def transactional_id(self, name: str) -> str:
        return f"{PREFIX}stagepost.{self.workers[name].role}.{self.instance(name)}"

    def tend(self) -> None:
        """Start again what ended; ask those that live what they counted."""
        for name, worker in list(self.workers.items()):
            code = worker.process.poll()
            if code is not None and name not in self.reserved:
                self.exits[str(code)] += 1
                self.look_at_log(worker)
                self.start(name)
            elif code is None and not self.sleeping(name):
                self.look_at(worker)

    def retire(self, name: str) -> None:
        """End a worker that a fault had for itself; what it met and counted is kept."""
        self.reserved.discard(name)
        worker = self.workers.pop(name, None)
        if worker is None:
            return
        if worker.process.poll() is None:
            self.look_at(worker)
            worker.kill()
        self.exits[str(worker.process.returncode)] += 1
        self.look_at_log(worker)

    def look_at(self, worker: Worker) -> None:
        """Ask it what it counted, if it answers."""
        try:
            self.tally.look(worker.process.pid, worker.metrics())
        except (OSError, ValueError, HTTPException):  # the last one where it ends while it answers
            return

    def look_at_log(self, worker: Worker) -> None:
        """Count the failpoints that it says it met."""
        text = worker.log.read_text(errors="replace")
        seen = self._read_logs.get(worker.log, 0)
        self._read_logs[worker.log] = len(text)
        for name, action in _HIT.findall(text[seen:]):
            if name in NAMES:
                self.failpoints[f"{name}:{action}"] += 1

    def signal(self, name: str, number: int) -> None:
        process = self.workers[name].process
        if process.poll() is None:
            process.send_signal(number)

    def sleeping(self, name: str) -> bool:
        """Whether the process was stopped, by us or by itself."""
        try:
            stat = Path(f"/proc/{self.workers[name].process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rsplit(")", 1)[1].split()[0] == "T"

    def caught_up(self, ends: Mapping[int, int]) -> bool:
        """Whether everything below ``ends`` is committed."""
        return all(self.watch.committed.get(partition, 0) >= end for partition, end in ends.items())

    def one(self) -> str:
        """Any worker that runs and that no fault has for itself."""
        free = [
            name
            for name, worker in self.workers.items()
            if name not in self.reserved and worker.process.poll() is None and not self.sleeping(name)
        ]
        return self.chance.choice(sorted(free) or sorted(self.workers))

    def partitions_of(self, name: str) -> list[int]:
        """Those that this worker was the last to commit."""
        mine = self.instance(name) + "."
        return [p for p, writer in self.watch.writers.items() if writer.startswith(mine)]
