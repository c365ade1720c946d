"""``stagepost bench restore``: how fast a partition's states come back, from the state topic alone and into Redis.

The state topic is written in the product's own format: states that the real fold has made, a control record behind each
batch. It is read by the product's reader, and restored, with a wipe before, by the product's own steps.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from stagepost.bench import stream, usage
from stagepost.bench.expected import AFTER, SPAN_S
from stagepost.bench.measure import Figure, Job, machine, measure
from stagepost.bench.rig import PARTITIONS, PREFIX, JobFailed, Progress, Rig
from stagepost.edges.errors import Unstable
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.local_kafka import KAFKA_VERSION
from stagepost.edges.mirror import RedisMirror, connect
from stagepost.edges.ports import PROTO, encode_metadata
from stagepost.edges.restore import Readers, Restore, Restored, RestoreSettings
from stagepost.engine.journey_worker import JourneyProcessor
from stagepost.engine.plan import CONTROL_KEY, Control, Topic, encode_control
from stagepost.events import murmur2_partition, parse_rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.state import CODEC, pack
from stagepost.journey.step import step_event

_MODELS = 2_000
"""Contacts that are really folded; the others get one of their states."""

_EVENTS_EACH = 12
"""Events behind a state, on average."""

_BATCH = 600
"""States in a transaction of a partition: a batch of 5,000 records over 8 partitions."""

_CHUNK = 5_000
"""Records of one read, as in a restore."""

GOALS = {"reader": 500_000, "restore": 100_000}
"""State records a second from the topic, contacts a second into Redis."""


@dataclass(frozen=True)
class RestoreReport:
    """``reader``: the state topic read to its end. ``restore``: the mirror wiped and built from it."""

    reader: Figure
    restore: Figure
    contacts: int
    state_bytes: float
    redis: str
    cores_apart: bool

    def as_json(self) -> dict[str, Any]:
        figures = {"reader": self.reader, "restore": self.restore}
        return {
            "bench": "restore",
            "machine": machine(),
            "kafka": KAFKA_VERSION,
            "redis": self.redis,
            "cores_apart": self.cores_apart,
            "contacts": self.contacts,
            "state_bytes": round(self.state_bytes),
            **{
                name: {**figure.as_json(), "per_s": round(figure.per_s), "goal_per_s": GOALS[name]}
                for name, figure in figures.items()
            },
        }


def bench_restore(
    contacts: int,
    rounds: int,
    seed: int,
    kafka: str | None = None,
    redis_url: str | None = None,
    progress: Progress = lambda what, done, of: None,
) -> RestoreReport:
    """Restore ``contacts`` in 8 partitions, ``rounds`` times. Raises JobFailed when not all of them are there then."""
    with Rig(kafka, redis_url) as rig:
        rig.fresh_installation()
        size = _write_states(rig, contacts, seed, lambda done: progress("writing states", done, contacts))
        # This process and the clients' threads, which are made in the jobs.
        with usage.on(rig.cores.worker):
            restored = _Restoring(rig)
            jobs = [
                Job("reader", contacts, lambda: None, lambda _: restored.read(contacts)),
                Job("restore", contacts, rig.empty_redis, lambda _: restored.restore()),
            ]
            try:
                reader, restore = measure(jobs, rounds, lambda done, of: progress("measuring", done, of))
            finally:
                restored.close()
        return RestoreReport(reader, restore, contacts, size, rig.redis_version(), rig.cores.apart and kafka is None)


def _write_states(rig: Rig, contacts: int, seed: int, progress: Callable[[int], None]) -> float:
    """The state topic as the worker leaves it; returns the mean size of a state."""
    states = _model_states(seed)
    topic = rig.names.full(Topic.STATE)
    producer = rig.producer()
    pending = [0] * PARTITIONS
    sequence = [0] * PARTITIONS
    size = 0

    def control(partition: int) -> None:
        sequence[partition] += 1
        record = Control(
            seq=sequence[partition],
            in_off=sequence[partition] * _BATCH,
            clock=AFTER,
            n_out=0,
            n_states=pending[partition],
            definitions={},
            codec=CODEC,
            proto=PROTO,
            writer="bench",
        )
        _put(producer, topic, CONTROL_KEY, encode_control(record), partition)
        pending[partition] = 0

    for number in range(contacts):
        key = f"c-{number:07d}".encode()
        partition = murmur2_partition(key, PARTITIONS)
        state = states[number % len(states)]
        size += len(state)
        _put(producer, topic, key, state, partition)
        pending[partition] += 1
        if pending[partition] == _BATCH:
            control(partition)
        if number % 5_000 == 0:
            progress(number)
    for partition in range(PARTITIONS):
        control(partition)
    if producer.flush(60):
        raise JobFailed("the broker did not take the states")
    _commit(rig, sequence)
    return size / contacts


def _commit(rig: Rig, sequence: Sequence[int]) -> None:
    """The offsets of the last batches, with the metadata that names them: what a restore has to arrive at."""
    topic = rig.names.full(Topic.EVENTS)
    consumer = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": rig.names.group("journey"), "log_level": 0})
    places = [
        TopicPartition(topic, partition, seq * _BATCH, encode_metadata(seq, "bench"))
        for partition, seq in enumerate(sequence)
    ]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def _model_states(seed: int) -> Sequence[bytes]:
    program = compile_program([stream.whole_journey()])
    count = _MODELS * _EVENTS_EACH
    states: dict[str, Any] = {}
    clock = 0
    for event in stream.flow(count, _MODELS, seed, SPAN_S / count):
        at = parse_rfc3339(event.occurred_at)
        clock = max(clock, at)
        states[event.contact] = step_event(program, states.get(event.contact), event, at, clock).state
    return [pack(state) for state in states.values() if state is not None]


def _put(producer: Producer, topic: str, key: bytes, value: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition)
            return
        except BufferError:
            producer.poll(0.05)


class _Restoring:
    """The product's parts, on the rig."""

    def __init__(self, rig: Rig) -> None:
        settings = KafkaSettings(rig.bootstrap)
        self._log = KafkaLog(settings, "journey", "bench", PREFIX, Topic.EVENTS)
        self._mirror = RedisMirror(connect(rig.redis_url, timeout_s=10), MirrorKeys.of(PREFIX, "journey"))
        # A member of the group knows its coordinator by the time it has partitions to restore.
        self._intake = self._log.intake(Topic.EVENTS)
        with suppress(Unstable):
            self._intake.committed(0, 10.0)
        self._processor = JourneyProcessor(
            program=compile_program([stream.whole_journey()]), tally_partitions=1, cache_contacts=1
        )

    def close(self) -> None:
        self._intake.close()
        self._mirror.close()

    def read(self, contacts: int) -> None:
        """Every record of the state topic, one partition after the other."""
        found = 0
        reader = self._log.reader(Topic.STATE)
        for partition in range(PARTITIONS):
            bounds = self._log.bounds(Topic.STATE, partition)
            reader.seek(partition, bounds.low)
            while reader.position() < bounds.high:
                found += sum(record.key != CONTROL_KEY for record in reader.read(_CHUNK, 0.1))
        reader.close()
        if found != contacts:
            raise JobFailed(f"{found} states were read, {contacts} written")

    def restore(self) -> None:
        """Every partition into the mirror, in turn as the loop does."""
        readers = Readers(self._log, Topic.STATE)
        settings = RestoreSettings(
            state=Topic.STATE,
            codec=self._processor.codec,
            partitions=PARTITIONS,
            topic_id=self._log.topic_id(Topic.STATE),
            start_from="earliest",
            rebuild=False,
            all_states=False,
            max_age_us=1 << 62,
            stuck_after_s=30.0,
        )
        running = [
            Restore(
                partition,
                settings,
                self._log,
                self._intake,
                self._mirror,
                readers,
                due_of=self._processor.due,
                new_nonce=lambda: uuid.uuid4().hex,
                failpoint=lambda name: None,
            ).steps()
            for partition in range(PARTITIONS)
        ]
        done: list[Restored] = []
        while running:
            for steps in list(running):
                try:
                    next(steps)
                except StopIteration as finished:
                    done.append(finished.value)
                    running.remove(steps)
        readers.close()
        first = [self._mirror.timers(partition, -1, 1) for partition in range(PARTITIONS)]
        if len(done) != PARTITIONS or not all(each is not None and each.due for each in first):
            raise JobFailed("after the restore there are partitions without a timer")
