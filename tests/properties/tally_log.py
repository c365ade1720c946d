"""Logs of tallies for tests of the rollup, and a runner that keeps states as the mirror does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from stagepost.alerts import AlertRecord
from stagepost.engine.plan import Control, Emit, PartitionPlan, Record, Topic
from stagepost.engine.rollup_worker import RollupProcessor
from stagepost.events import BIN, HOUR, MICROS, MetricWindow, Tally, TallyBatch, encode_json, parse_rfc3339

START = parse_rfc3339("2026-11-02T00:00:00Z")
"""A Monday."""

FIRST = START // BIN

LATER = START + 22 * 24 * HOUR
"""Broker time of the first record: the log is history."""


def batch(offset: int, p: int, seq: int, clock: int, deltas: Iterable[Tally] = (), at: int | None = None) -> Record:
    """One record of ``stagepost.tallies``; its broker time is a second after the one before unless told."""
    return Record(
        topic=Topic.TALLIES,
        partition=0,
        offset=offset,
        timestamp=LATER + offset * MICROS if at is None else at,
        key=str(p).encode(),
        value=encode_json(TallyBatch(p=p, seq=seq, clock=clock, deltas=tuple(deltas))),
    )


def campaign(id_: str, bin_: int, metric: str, n: int = 1) -> Tally:
    return Tally("campaign", id_, bin_, metric, n)


class Worker:
    """A processor, its partition, and the states that it wrote."""

    def __init__(self, processor: RollupProcessor) -> None:
        self.processor = processor
        self.states: dict[str, bytes] = {}
        self.plans: list[PartitionPlan] = []
        self.partition = processor.open(0, 1, None)

    def take(self, records: Sequence[Record]) -> PartitionPlan | None:
        next_offset = records[-1].offset + 1 if records else self.partition.next_offset
        read = self.processor.read(self.partition, records, next_offset, None)
        if self.processor.unknown(self.partition, read) is not None:
            dues = {key: self.processor.due(value) for key, value in self.states.items()}
            due = {key: at for key, at in dues.items() if at is not None}
            read = self.processor.learn(self.partition, read, due, None)
        self.processor.load(self.partition, {key: self.states.get(key) for key in read.needs})
        plan = self.processor.plan(self.partition, read)
        if plan is not None:
            self.processor.applied(self.partition, plan)
            self.states.update({key: value for key, value in plan.states.items() if value is not None})
            self.plans.append(plan)
        return plan

    def restart(self) -> tuple[Emit, ...]:
        """A new process: only the control record and the states are left. Returns what it announces."""
        last = self.plans[-1]
        control = Control(
            seq=last.seq,
            in_off=last.next_offset,
            clock=last.clock,
            n_out=0,
            n_states=0,
            definitions=dict(last.definitions),
            codec=1,
            proto=1,
            writer="",
        )
        self.partition = self.processor.open(0, 1, control)
        return self.processor.assigned(self.partition, self.states)

    def emitted(self, topic: Topic) -> list[Emit]:
        return [emit for plan in self.plans for emit in (*plan.emits, *plan.after) if emit.topic == topic]

    @property
    def windows(self) -> list[MetricWindow]:
        return [msgspec.json.decode(e.value or b"", type=MetricWindow) for e in self.emitted(Topic.METRICS)]

    @property
    def alerts(self) -> list[AlertRecord]:
        return [msgspec.json.decode(e.value or b"", type=AlertRecord) for e in self.emitted(Topic.ALERTS)]

    @property
    def counts(self) -> dict[tuple[str, ...], int]:
        total: dict[tuple[str, ...], int] = {}
        for plan in self.plans:
            for name, n in plan.counts.items():
                total[name] = total.get(name, 0) + n
        return total
