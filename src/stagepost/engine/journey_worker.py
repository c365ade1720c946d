"""The ``journey`` role as a pure processor: events and due timers of a partition to one Plan per batch.

Decides for each record its one accounting class (design.md 6) and turns steps into records. May not contain: a rule of
the journey language (``journey/step.py``), a client, a clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from stagepost.engine import cloudevents
from stagepost.engine.dead_letters import CARRIED_LIMIT, dead_letter, size_of
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import Control, Emit, Headers, PartitionPlan, Record, Topic
from stagepost.engine.tallies import Tallies
from stagepost.events import (
    CONTACT_TYPES,
    EMAIL_TYPES,
    MICROS,
    PROVIDERS,
    Event,
    Membership,
    Reason,
    Rejected,
    Transition,
    encode_json,
    murmur2_partition,
    parse_rfc3339,
)
from stagepost.journey.compile import Program
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.result import Outcome, Step
from stagepost.journey.state import CODEC, ContactState, next_due, pack, unpack
from stagepost.journey.step import memberships

HEARTBEAT = 5 * MICROS
"""An idle partition commits its clock at least this often, so that the watermark of the metrics moves (design.md 5)."""

_SKIPPED = {
    Outcome.LATE: "late",
    Outcome.DUPLICATE: "duplicate",
    Outcome.SUPPRESSED: "suppressed",
    Outcome.TEST: "test",
}


@dataclass(slots=True)
class JourneyPartition:
    """What the worker remembers of one partition; changed by ``load`` and ``applied`` only."""

    number: int
    partitions: int
    seq: int
    clock: int
    next_offset: int
    timers: TimerIndex = field(default_factory=TimerIndex)
    cache: OrderedDict[str, ContactState | None] = field(default_factory=OrderedDict)
    """Least recently used first; None for a contact that is known to have no state."""


class Misplaced(Struct, frozen=True):
    """An event under a key or in a partition that is not its contact's."""

    contact: str


@dataclass(frozen=True, slots=True)
class JourneyBatch:
    """Records, each with what was read from it, and the clock of an idle partition."""

    items: tuple[tuple[Record, Incoming | Rejected | Misplaced], ...]
    next_offset: int
    now: int | None
    needs: Collection[str]


@dataclass(frozen=True, slots=True)
class JourneyProcessor:
    """``Stateful`` for ``email.events``. ``tally_partitions``: count of ``stagepost.tallies``."""

    program: Program
    tally_partitions: int
    cache_contacts: int
    prefix: str = ""
    group: str = ""
    input: Topic = Topic.EVENTS
    state: Topic = Topic.STATE
    codec: int = CODEC
    announces: bool = False

    def due(self, value: bytes) -> int | None:
        return next_due(unpack(value))

    def open(self, partition: int, partitions: int, control: Control | None) -> JourneyPartition:
        if control is None:
            return JourneyPartition(number=partition, partitions=partitions, seq=0, clock=0, next_offset=0)
        return JourneyPartition(
            number=partition, partitions=partitions, seq=control.seq, clock=control.clock, next_offset=control.in_off
        )

    def restore(self, partition: JourneyPartition, due: Mapping[str, int]) -> None:
        for contact, at in due.items():
            partition.timers.set(contact, at)

    def read(
        self, partition: JourneyPartition, records: Sequence[Record], next_offset: int, now: int | None
    ) -> JourneyBatch:
        items = tuple((record, self._read(partition, record)) for record in records)
        clock = partition.clock if now is None else max(partition.clock, now)
        contacts: dict[str, None] = {}
        for _, read in items:
            if isinstance(read, Incoming):
                contacts[read.event.contact] = None
                clock = max(clock, read.at)
        contacts.update(dict.fromkeys(partition.timers.due_by(clock)))
        return JourneyBatch(items, next_offset, now, tuple(c for c in contacts if c not in partition.cache))

    def load(self, partition: JourneyPartition, values: Mapping[str, bytes | None]) -> None:
        for contact, value in values.items():
            partition.cache[contact] = None if value is None else unpack(value)

    def plan(self, partition: JourneyPartition, batch: JourneyBatch) -> PartitionPlan | None:
        fold = Fold(self.program, clock=partition.clock, state_of=partition.cache.__getitem__, timers=partition.timers)
        out = _Output(self, partition)
        for record, read in batch.items:
            self._take(fold, out, record, read)
        if batch.now is not None and batch.now > fold.clock:
            for contact, step in fold.run_to(batch.now):
                out.step(contact, step, fold.clock)
        if not batch.items and not fold.changed and fold.clock < partition.clock + HEARTBEAT:
            return None
        return out.plan(fold, batch.next_offset)

    def applied(self, partition: JourneyPartition, plan: PartitionPlan) -> None:
        partition.seq, partition.clock, partition.next_offset = plan.seq, plan.clock, plan.next_offset
        for contact, due in plan.due.items():
            partition.timers.set(contact, due)
        cache = partition.cache
        for contact, state in plan.entries.items():
            cache[contact] = state
            cache.move_to_end(contact)
        while len(cache) > self.cache_contacts:
            cache.popitem(last=False)

    def assigned(self, partition: JourneyPartition, values: Mapping[str, bytes]) -> tuple[Emit, ...]:
        return ()

    def _read(self, partition: JourneyPartition, record: Record) -> Incoming | Rejected | Misplaced:
        read = read_event(record.value, headers=record.headers, broker_time=record.timestamp)
        if isinstance(read, Rejected):
            return read
        contact = read.event.contact
        key = contact.encode()
        home = murmur2_partition(key, partition.partitions)
        if record.key != key or home != partition.number:
            if size_of(record) > CARRIED_LIMIT:
                return Rejected(Reason.OVERSIZE, f"misplaced, and with its headers more than {CARRIED_LIMIT} bytes")
            return Misplaced(contact)
        return read

    def _take(self, fold: Fold, out: _Output, record: Record, read: Incoming | Rejected | Misplaced) -> None:
        if isinstance(read, Misplaced):
            out.reroute(record, read)
        elif isinstance(read, Rejected):
            out.reject(record, read)
        else:
            trace = cloudevents.trace_of(record.headers)
            try:
                steps = fold.event(read.event, read.at)
            except Exception as error:  # one event's dead letter, never its neighbours' or the worker's end
                out.reject(record, Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while the event was applied"))
                return
            for contact, step in steps:
                out.step(contact, step, fold.clock, read if step.outcome is not None else None, trace)


class _Output:
    """Collects what the steps of one batch emit and count."""

    def __init__(self, processor: JourneyProcessor, partition: JourneyPartition) -> None:
        self._processor = processor
        self._partition = partition
        self._emits: list[Emit] = []
        self._memberships: dict[tuple[str, str], Emit] = {}
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._timer_delays: list[float] = []
        self._caused_at: list[int] = []
        self._tallies = Tallies(partition.number, processor.tally_partitions)
        self._source = cloudevents.source(processor.prefix, "journey")

    def reroute(self, record: Record, misplaced: Misplaced) -> None:
        self._emits.append(
            Emit(topic=Topic.EVENTS, key=misplaced.contact.encode(), value=record.value, headers=record.headers)
        )
        self._counts["events_in_total",] += 1
        self._counts["events_rerouted_total",] += 1

    def reject(self, record: Record, rejected: Rejected) -> None:
        processor = self._processor
        full_name = processor.prefix + record.topic
        self._emits.append(dead_letter(record, Topic.EVENTS_DLQ, full_name, processor.group, [rejected]))
        self._counts["events_in_total",] += 1
        self._counts["events_dead_lettered_total", rejected.reason] += 1

    def step(self, contact: str, step: Step, clock: int, read: Incoming | None = None, trace: Headers = ()) -> None:
        """Take one step, made at ``clock``; ``read`` is the event that it answers to, None for a timer."""
        event = None if read is None else read.event
        if event is not None:
            self._count_event(event, step)
        for move in step.moves:
            self._move(move, trace)
            if move.timer is not None:
                self._timer_delays.append((clock - parse_rfc3339(move.timer.due)) / MICROS)
            elif read is not None:
                self._caused_at.append(read.at)
        for membership in memberships(self._processor.program, contact, step):
            self._membership(membership)
        for journey in step.erased:
            key = f"{journey}/{contact}"
            self._memberships[journey, contact] = Emit(
                topic=Topic.CONTACTS, key=key.encode(), value=None, partition=self._partition.number
            )
        provider = _provider_label(event.provider) if event is not None and event.provider is not None else None
        for count in step.counts:
            self._tallies.add(count, provider)
        for journey in step.refused:
            self._counts["consent_refused_total", journey] += 1

    def plan(self, fold: Fold, next_offset: int) -> PartitionPlan:
        seq = self._partition.seq + 1
        states = {contact: None if state is None else pack(state) for contact, state in fold.changed.items()}
        due = {contact: None if state is None else next_due(state) for contact, state in fold.changed.items()}
        return PartitionPlan(
            partition=self._partition.number,
            seq=seq,
            next_offset=next_offset,
            clock=fold.clock,
            emits=(*self._emits, *self._memberships.values(), *self._tallies.emits(seq, fold.clock)),
            states=states,
            due=due,
            entries=dict(fold.changed),
            counts=self._counts,
            delays={"timer_delay_seconds": self._timer_delays} if self._timer_delays else {},
            caused_at=self._caused_at,
            definitions=self._processor.program.versions,
        )

    def _count_event(self, event: Event, step: Step) -> None:
        known = event.type if event.type in EMAIL_TYPES or event.type in CONTACT_TYPES else "custom"
        self._counts["events_in_total",] += 1
        self._counts["events_consumed_total", Topic.EVENTS, _provider_label(event.provider), known] += 1
        if step.outcome == Outcome.APPLIED:
            self._counts["events_applied_total",] += 1
        elif step.outcome is not None:
            self._counts["events_skipped_total", _SKIPPED[step.outcome]] += 1

    def _move(self, move: Transition, trace: Headers) -> None:
        headers = cloudevents.headers(
            cloudevents.TRANSITION,
            self._source,
            move.id,
            move.at,
            move.contact,
            correlation=move.run,
            causation=move.cause.id if move.cause is not None else None,
            trace=trace,
        )
        self._emits.append(
            Emit(topic=Topic.TRANSITIONS, key=move.contact.encode(), value=encode_json(move), headers=headers)
        )
        self._counts["transitions_total", move.journey, move.from_ or "", move.to] += 1
        self._counts["moves_total", move.journey, move.kind] += 1

    def _membership(self, membership: Membership) -> None:
        """Only the newest of a batch is written: the topic is compacted to it anyway."""
        key = f"{membership.journey}/{membership.contact}"
        headers = cloudevents.headers(
            cloudevents.MEMBERSHIP,
            self._source,
            f"{membership.run}/{membership.since}/{membership.stage}",
            membership.since,
            membership.contact,
            correlation=membership.run,
        )
        self._memberships[membership.journey, membership.contact] = Emit(
            topic=Topic.CONTACTS,
            key=key.encode(),
            value=encode_json(membership),
            headers=headers,
            partition=self._partition.number,
        )


def _provider_label(provider: str | None) -> str:
    """A closed set: a company's own events can say anything."""
    if provider is None:
        return "none"
    return provider if provider in PROVIDERS else "other"
