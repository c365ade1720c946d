"""A small Stateful processor for tests of the runner, and a worker process around it.

Every record adds one to its contact and gives a transition ``contact n id``; an id that begins with ``timer`` also sets
a timer one second of the partition clock later, which gives ``contact timer id``, and one that begins with ``gone``
leaves a tombstone, gives ``contact gone id``, and the count begins anew. The packed state is JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stagepost.edges.kafka_log import KafkaSettings
from stagepost.edges.ports import NoCounters
from stagepost.edges.runner import RunnerConfig, kafka_runner
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Control, Emit, PartitionPlan, Record, TimersWanted, Topic
from stagepost.events import Rejected
from stagepost.journey.fold import NEVER, UNKNOWN, TimerIndex

TIMER = 1_000_000

_NEW = {"n": 0, "due": None, "timer": None}


@dataclass
class CountingPartition:
    number: int
    seq: int
    clock: int
    next_offset: int
    cache: OrderedDict[str, dict[str, Any] | None] = field(default_factory=OrderedDict)
    timers: TimerIndex = field(default_factory=TimerIndex)


@dataclass(frozen=True)
class CountingBatch:
    records: Sequence[Record]
    next_offset: int
    clock: int
    due: Sequence[str]
    needs: Collection[str]
    refused: tuple[Record, Rejected] | None = None


def end_over(records: Sequence[Record]) -> None:
    """End the process over the records ``deadly kill`` and ``deadly exit``."""
    for record in records:
        if record.value == b"deadly kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif record.value == b"deadly exit":
            os._exit(9)


class Copying:
    """Stateless: each record becomes the transition ``contact batch id``."""

    input = Topic.EVENTS

    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan:
        end_over(records)
        emits = tuple(
            Emit(Topic.TRANSITIONS, record.key, b"%s %d %s" % (record.key, seq, record.value)) for record in records
        )
        return PartitionPlan(partition=partition, seq=seq, next_offset=next_offset, clock=0, emits=emits)

    def refuse(self, partition: int, seq: int, record: Record, why: Rejected) -> PartitionPlan:
        letter = dead_letter(record, Topic.EVENTS_DLQ, "", "", [why])
        return PartitionPlan(partition=partition, seq=seq, next_offset=record.offset + 1, clock=0, emits=(letter,))


class Counting:
    """``cache`` and ``timers`` are small, so that most states and timers come from the mirror."""

    input = Topic.EVENTS
    state = Topic.STATE
    switching = None
    surveys = False

    def __init__(self, cache: int = 20, codec: int = 1, announces: bool = False, timers: int = 2) -> None:
        self.cache = cache
        self.timers = timers
        self.fired = 3
        self.codec = codec
        self.announces = announces

    def due(self, value: bytes) -> int | None:
        due: int | None = json.loads(value)["due"]
        return due

    def forgets(self, value: bytes) -> bool:
        return False

    def open(self, partition: int, partitions: int, control: Control | None) -> CountingPartition:
        if control is None:
            return CountingPartition(partition, 0, 0, 0)
        return CountingPartition(partition, control.seq, control.clock, control.in_off, timers=TimerIndex(UNKNOWN))

    def read(
        self, partition: CountingPartition, records: Sequence[Record], next_offset: int, now: int | None
    ) -> CountingBatch:
        end_over(records)
        clock = max([partition.clock, now or 0, *(record.timestamp for record in records)])
        return self._with_due(partition, CountingBatch(records, next_offset, clock, (), ()))

    def unknown(self, partition: CountingPartition, batch: CountingBatch) -> TimersWanted | None:
        if batch.refused is not None or batch.clock <= partition.timers.until:
            return None
        return TimersWanted(partition.timers.until, 1)

    def learn(
        self, partition: CountingPartition, batch: CountingBatch, due: Mapping[str, int], until: int | None
    ) -> CountingBatch:
        partition.timers.learn(due, NEVER if until is None else until)
        return self._with_due(partition, batch)

    def _with_due(self, partition: CountingPartition, batch: CountingBatch) -> CountingBatch:
        due = partition.timers.due_by(batch.clock)
        if len(due) > self.fired:
            # More than go into a batch: the first of them alone.
            due = due[: self.fired]
            clock = max(partition.clock, *(partition.timers.due(contact) or 0 for contact in due))
            batch = replace(batch, records=(), next_offset=partition.next_offset, clock=clock)
        touched = dict.fromkeys([*due, *((record.key or b"").decode() for record in batch.records)])
        return replace(batch, due=due, needs=[contact for contact in touched if contact not in partition.cache])

    def refuse(self, partition: CountingPartition, record: Record, why: Rejected) -> CountingBatch:
        return CountingBatch((), record.offset + 1, partition.clock, (), (), (record, why))

    def load(self, partition: CountingPartition, values: Mapping[str, bytes | None]) -> None:
        for contact, value in values.items():
            partition.cache[contact] = None if value is None else json.loads(value)

    def plan(self, partition: CountingPartition, batch: CountingBatch) -> PartitionPlan | None:
        stays = batch.next_offset == partition.next_offset
        if not batch.records and not batch.due and batch.refused is None and stays:
            return None
        states: dict[str, dict[str, Any] | None] = {}
        emits: list[Emit] = []
        if batch.refused is not None:
            emits.append(dead_letter(batch.refused[0], Topic.EVENTS_DLQ, "", "", [batch.refused[1]]))

        def state_of(contact: str) -> dict[str, Any]:
            before = states[contact] if contact in states else partition.cache[contact]
            states[contact] = state = dict(before or _NEW)
            return state

        def emit(*words: object) -> None:
            emits.append(Emit(Topic.TRANSITIONS, str(words[0]).encode(), " ".join(map(str, words)).encode()))

        for contact in batch.due:
            state = state_of(contact)
            emit(contact, "timer", state["timer"])
            state.update(due=None, timer=None)
        for record in batch.records:
            contact, event = (record.key or b"").decode(), (record.value or b"").decode()
            if event.startswith("gone"):
                emit(contact, "gone", event)
                states[contact] = None
                continue
            state = state_of(contact)
            state["n"] += 1
            emit(contact, state["n"], event)
            if event.startswith("timer"):
                state.update(due=record.timestamp + TIMER, timer=event)
        return PartitionPlan(
            partition=partition.number,
            seq=partition.seq + 1,
            next_offset=batch.next_offset,
            clock=batch.clock,
            emits=tuple(emits),
            states={
                contact: None if state is None else json.dumps(state).encode() for contact, state in states.items()
            },
            due={contact: None if state is None else state["due"] for contact, state in states.items()},
            entries=states,
            counts=Counter({("events_applied_total",): len(batch.records)}),
        )

    def applied(self, partition: CountingPartition, plan: PartitionPlan) -> None:
        partition.seq, partition.clock, partition.next_offset = plan.seq, plan.clock, plan.next_offset
        for contact, due in plan.due.items():
            partition.timers.set(contact, due)
            partition.cache[contact] = plan.entries[contact]
            partition.cache.move_to_end(contact)
        partition.timers.shorten(self.timers)
        while len(partition.cache) > self.cache:
            partition.cache.popitem(last=False)

    def assigned(self, partition: CountingPartition, values: Mapping[str, bytes]) -> tuple[Emit, ...]:
        return tuple(Emit(Topic.ALERTS, contact.encode(), value) for contact, value in sorted(values.items()))

    def survey(self, partition: CountingPartition, values: Mapping[str, bytes | None], done: bool) -> None:
        """Nothing is asked for."""

    def gauges(self, partition: CountingPartition, clock: int) -> Mapping[tuple[str, ...], float]:
        return {}


def kafka_settings(bootstrap: str, session_ms: int = 1500) -> KafkaSettings:
    """Short times: a dead member is missed after 1.5 s, its transaction ends after 6."""
    return KafkaSettings(
        bootstrap,
        session_timeout_ms=session_ms,
        max_poll_interval_ms=30_000,
        transaction_timeout_ms=6000,
        message_timeout_ms=5000,
    )


def runner_config(prefix: str, instance: str, **changes: Any) -> RunnerConfig:
    defaults: dict[str, Any] = {
        "role": "journey",
        "instance": instance,
        "prefix": prefix,
        "topics": (Topic.TRANSITIONS,),
        "batch": 200,
        "idle_after_s": 30.0,
        "transaction_timeout_s": 6.0,
    }
    return RunnerConfig(**{**defaults, **changes})


def main() -> None:
    """Arguments: bootstrap servers, Redis URL, prefix, instance, failpoint, its how-many-th time to die at, role."""
    bootstrap, redis_url, prefix, instance, die_at, times, role = (*sys.argv[1:], "journey")[:7]
    left = int(times)

    def failpoint(name: str) -> None:
        nonlocal left
        if name == die_at:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    config = runner_config(prefix, instance, role=role)
    processor = Counting() if role == "journey" else Copying()
    runner = kafka_runner(config, kafka_settings(bootstrap), redis_url, processor, NoCounters(), failpoint)
    signal.signal(signal.SIGTERM, lambda *_: runner.stop())
    runner.run()


if __name__ == "__main__":
    main()
