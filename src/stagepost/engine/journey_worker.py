"""The ``journey`` role as a pure processor: events and due timers of a partition to one Plan per batch.

Decides for each record its one accounting class (design.md 6) and turns steps into records; changes the definitions of
a partition in the batch of their activation (``definitions.py``). May not contain: a rule of the journey language
(``journey/step.py``), a client, a clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from msgspec import Struct, structs

from stagepost.engine import cloudevents
from stagepost.engine.census import Census
from stagepost.engine.dead_letters import CARRIED_LIMIT, dead_letter, size_of
from stagepost.engine.definitions import (
    ACTIVATION_KEY,
    RESERVED,
    Activation,
    advance,
    begin,
    definition_key,
    is_reserved,
    pack_activation,
    pack_definition,
    unpack_activation,
    unpack_definition,
)
from stagepost.engine.hot_contacts import HotContacts, Moved
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import Control, Emit, Headers, Listing, PartitionPlan, Record, Sweep, TimersWanted, Topic
from stagepost.engine.story import pack_told, told_of
from stagepost.engine.tallies import Tallies
from stagepost.events import (
    CONTACT_TYPES,
    EMAIL_TYPES,
    MICROS,
    PROVIDERS,
    Membership,
    Reason,
    Rejected,
    Transition,
    encode_json,
    murmur2_partition,
    parse_rfc3339,
)
from stagepost.journey.compile import Program, compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.fold import NEVER, UNKNOWN, Cursor, Fold, TimerIndex
from stagepost.journey.result import Outcome, Step
from stagepost.journey.state import CODEC, ContactState, next_due, pack, packed_due, unpack
from stagepost.journey.step import memberships
from stagepost.journey.switch import Switch, Version, finishing, switch_to

HEARTBEAT = 5 * MICROS
"""An idle partition commits its clock at least this often, so that the watermark of the metrics moves (design.md 5)."""

PROGRAMS = 16
"""Compiled programs kept beside the worker's own: partitions change together, so that there are one or two."""

STATE_LIMIT = 1_000_000
"""Bytes of a contact's state that its topic takes (Kafka's default less some room); ``validate --state-size`` tells how
large it can become under a definition."""

REDONE = 100
"""How often a batch is computed anew because of one more record that does not go; beyond it nothing is sound."""

TIMERS_LEARNT = 5_000
"""Timers asked for at once: some milliseconds of Redis' one thread."""

TIMERS_FIRED = 2_000
"""Most timers of a partition in one batch. After an outage, or for contacts that came at once, more are due together
than a transaction can hold within its timeout; those of a usual batch are few."""

DUE_COUNTED = 10_000
"""Overdue timers that are counted: as many mean "or more"."""

MARKER_LIMIT = 64
"""Packed bytes of the state of an erased contact: two times, and fields without content."""

_SKIPPED = {
    Outcome.LATE: "late",
    Outcome.DUPLICATE: "duplicate",
    Outcome.SUPPRESSED: "suppressed",
    Outcome.TEST: "test",
}


@dataclass(slots=True, weakref_slot=True)
class JourneyPartition:
    """What the worker remembers of one partition; changed by ``learn``, ``load``, ``survey`` and ``applied`` only."""

    number: int
    partitions: int
    seq: int
    clock: int
    next_offset: int
    timers: TimerIndex = field(default_factory=TimerIndex)
    cache: OrderedDict[str, bytes | None] = field(default_factory=OrderedDict)
    """Packed states, least recently used first; None for a contact that is known to have none. Decoded they take four
    times the memory, and are no faster: with 200,000 contacts reading cold objects costs what unpacking does."""
    ran: dict[str, str] = field(default_factory=dict)
    """Versions that computed its last batch."""
    asked: bool = False
    """Whether ``activation`` was looked up."""
    activation: Activation | None = None
    stored: dict[Version, Journey | None] = field(default_factory=dict)
    """Definitions that ``activation`` keeps and the worker does not have itself; None: not to be had."""
    hot: HotContacts = field(default_factory=HotContacts)
    census: Census = field(default_factory=lambda: Census(known=True))


class _Unfit(Exception):
    """A record that does not go, noticed when the states had been changed already."""

    def __init__(self, record: Record, why: Rejected) -> None:
        super().__init__(why.detail)
        self.record = record
        self.why = why


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
    clock: int = 0
    """Where the partition's clock may get by it."""
    overdue: bool = False
    """More timers are due by then than go into a batch: it has the first of them, and what records come before."""
    listing: Listing | None = None
    """States to bring up to changed definitions."""


@dataclass(frozen=True, slots=True)
class JourneyProcessor:
    """``Stateful`` for ``email.events``. ``tally_partitions``: count of ``stagepost.tallies``; ``cache_contacts``: kept
    over all partitions, each of which has an equal share, since contacts spread evenly; of their timers as many, the
    next ones, whoever has them."""

    program: Program
    tally_partitions: int
    cache_contacts: int
    prefix: str = ""
    group: str = ""
    input: Topic = Topic.EVENTS
    state: Topic = Topic.STATE
    codec: int = CODEC
    announces: bool = False
    surveys: bool = True
    _open: WeakValueDictionary[int, JourneyPartition] = field(default_factory=WeakValueDictionary)
    """Partitions that share the cache, by number."""
    _programs: dict[tuple[Version, ...], Program] = field(default_factory=dict)
    """Compiled for partitions that are between definitions."""

    @property
    def switching(self) -> JourneyProcessor:
        return self

    def due(self, value: bytes) -> int | None:
        return None if value[:1] == bytes([RESERVED]) else packed_due(value)

    def forgets(self, value: bytes) -> bool:
        # Looked at only where it can be true: a restore asks for every state.
        return len(value) <= MARKER_LIMIT and value[:1] != bytes([RESERVED]) and unpack(value).erased != 0

    def open(self, partition: int, partitions: int, control: Control | None) -> JourneyPartition:
        if control is None:
            made = JourneyPartition(number=partition, partitions=partitions, seq=0, clock=0, next_offset=0)
        else:
            made = JourneyPartition(
                number=partition,
                partitions=partitions,
                seq=control.seq,
                clock=control.clock,
                next_offset=control.in_off,
                ran=control.definitions,
                timers=TimerIndex(UNKNOWN),
                census=Census(known=False),
            )
        self._open[partition] = made
        return made

    def read(
        self, partition: JourneyPartition, records: Sequence[Record], next_offset: int, now: int | None
    ) -> JourneyBatch:
        items = tuple((record, self._read(partition, record)) for record in records)
        clock = partition.clock if now is None else max(partition.clock, now)
        for _, read in items:
            if isinstance(read, Incoming) and read.at > clock:
                clock = read.at
        return self._with_needs(partition, JourneyBatch(items, next_offset, now, (), clock))

    def refuse(self, partition: JourneyPartition, record: Record, why: Rejected) -> JourneyBatch:
        return JourneyBatch(((record, why),), record.offset + 1, None, ())

    def unknown(self, partition: JourneyPartition, batch: JourneyBatch) -> TimersWanted | None:
        if batch.overdue or batch.clock <= partition.timers.until:
            return None
        return TimersWanted(partition.timers.until, max(1, min(TIMERS_LEARNT, self._share() // 2)))

    def learn(
        self, partition: JourneyPartition, batch: JourneyBatch, due: Mapping[str, int], until: int | None
    ) -> JourneyBatch:
        partition.timers.learn(due, NEVER if until is None else until)
        return self._with_needs(partition, batch)

    def _with_needs(self, partition: JourneyPartition, batch: JourneyBatch) -> JourneyBatch:
        """The batch, as far as the timers that are known leave room for it, with the states that it needs."""
        due = partition.timers.due_by(batch.clock)
        if len(due) > TIMERS_FIRED:
            batch = _cut(partition, batch, due)
            due = due[:TIMERS_FIRED]
        contacts = {read.event.contact: None for _, read in batch.items if isinstance(read, Incoming)}
        contacts.update(dict.fromkeys(due))
        return replace(batch, needs=tuple(contact for contact in contacts if contact not in partition.cache))

    def load(self, partition: JourneyPartition, values: Mapping[str, bytes | None]) -> None:
        for contact, value in values.items():
            if is_reserved(contact):
                self._load_reserved(partition, contact, value)
            else:
                _unpacked(value)  # what cannot be read is noticed here, where it is nobody's dead letter
                partition.cache[contact] = value

    def plan(self, partition: JourneyPartition, batch: JourneyBatch) -> PartitionPlan | None:
        refused: dict[int, Rejected] = {}
        watched: set[str] = set()
        while True:
            try:
                plan = self._plan(partition, batch, refused, watched)
            except _Unfit as unfit:
                if len(refused) >= REDONE:
                    raise
                refused[unfit.record.offset] = unfit.why
                continue
            large = _large(plan) - watched
            if not large:
                return plan
            # Which of its events made it so is seen when each is measured.
            watched |= large

    def _plan(
        self, partition: JourneyPartition, batch: JourneyBatch, refused: Mapping[int, Rejected], watched: set[str]
    ) -> PartitionPlan | None:
        """``refused``: records by offset that are dead letters; ``watched``: contacts whose state is to be measured."""
        activation = self._activation(partition)
        program = self._program(partition, activation)
        fold = Fold(
            program,
            clock=partition.clock,
            state_of=lambda contact: _unpacked(partition.cache[contact]),
            timers=partition.timers,
            switch=self._switch(partition, activation, program),
            epoch=activation.seq,
        )
        out = _Output(self, partition)
        for record, read in batch.items:
            self._take(fold, out, record, refused.get(record.offset, read) if refused else read)
            if watched and isinstance(read, Incoming) and read.event.contact in watched:
                self._measure(fold, record, read.event.contact)
        if batch.now is not None and (batch.now > fold.clock or batch.overdue):
            for contact, step in fold.run_to(batch.now, TIMERS_FIRED):
                out.step(contact, step, fold.clock)
        if batch.listing is not None:
            for contact, step in fold.sweep(batch.listing.keys):
                out.step(contact, step, fold.clock)
        began = partition.activation
        if activation.slot is not None or activation.stays:
            activation = advance(activation, batch.listing, _finished(program, partition.cache, fold.changed))
        changed = began is not None and activation != began
        stays = batch.next_offset == partition.next_offset and fold.clock < partition.clock + HEARTBEAT
        if not batch.items and not fold.changed and not changed and stays and not batch.overdue:
            return None
        plan = out.plan(fold, batch.next_offset, activation.versions)
        return plan if activation == began else self._with_activation(partition, plan, activation)

    def applied(self, partition: JourneyPartition, plan: PartitionPlan) -> None:
        partition.seq, partition.clock, partition.next_offset = plan.seq, plan.clock, plan.next_offset
        for contact, due in plan.due.items():
            partition.timers.set(contact, due)
        partition.timers.tidy()
        partition.timers.shorten(self._share())
        partition.ran = dict(plan.definitions)
        cache, states = partition.cache, plan.states
        if plan.moved:
            partition.hot.took(plan.moved)
        for contact in dict.fromkeys([*(contact for contact, _ in plan.moved), *_forgotten(plan)]):
            partition.census.moved(contact, _unpacked(cache.get(contact)), _unpacked(states[contact]))
        for contact, packed in states.items():
            if not is_reserved(contact):
                cache[contact] = packed
                cache.move_to_end(contact)
            elif contact == ACTIVATION_KEY and packed is not None:
                partition.activation = unpack_activation(packed)
        share = self._share()
        while len(cache) > share:
            cache.popitem(last=False)

    def _share(self) -> int:
        """Contacts that a partition may keep."""
        return max(1, self.cache_contacts // max(1, len(self._open)))

    def survey(self, partition: JourneyPartition, values: Mapping[str, bytes | None], done: bool) -> None:
        states = {
            key: None if value is None else unpack(value) for key, value in values.items() if not is_reserved(key)
        }
        partition.census.found(states)
        if done:
            partition.census.finish()

    def gauges(self, partition: JourneyPartition, clock: int) -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {("timers_due",): _overdue(partition.timers, clock)}
        census = partition.census
        if census.complete:
            for journey in self.program.by_name.values():
                stages, setbacks = journey.definition.stages, journey.definition.setbacks
                for place in [*(stage.name for stage in stages), *(setback.name for setback in setbacks)]:
                    stand = (journey.name, place)
                    found["contacts", *stand] = census.contacts[stand]
                    found["stalled_contacts", *stand] = census.stalled[stand]
        return found

    def assigned(self, partition: JourneyPartition, values: Mapping[str, bytes]) -> tuple[Emit, ...]:
        return ()

    # Changed definitions

    def wants(self, partition: JourneyPartition) -> Collection[str]:
        if not partition.asked:
            return (ACTIVATION_KEY,)
        now = partition.activation
        if now is None or (now.versions == self.program.versions and not now.stays and now.slot is None):
            return ()
        missing = now.kept() - partition.stored.keys() - self.program.versions.items()
        return [definition_key(version) for version in sorted(missing)]

    def pending(self, partition: JourneyPartition) -> bool:
        now = partition.activation
        if now is None:
            return not partition.asked
        return now.slot is not None or now.versions != self.program.versions

    def sweep(self, partition: JourneyPartition, slots: int) -> Sweep | None:
        if partition.activation is None or not self.pending(partition):
            return None
        activation = self._activation(partition)
        if activation.slot is None:
            return None
        return Sweep(activation.slot if activation.slots == slots else 0, activation.seq - 1)

    def swept(self, partition: JourneyPartition, batch: JourneyBatch, listing: Listing) -> JourneyBatch:
        contacts = tuple(key for key in listing.keys if not is_reserved(key))
        known = partition.cache.keys() | set(batch.needs)
        return replace(
            batch,
            needs=(*batch.needs, *(contact for contact in contacts if contact not in known)),
            listing=structs.replace(listing, keys=contacts),
        )

    def _load_reserved(self, partition: JourneyPartition, key: str, value: bytes | None) -> None:
        if key == ACTIVATION_KEY:
            partition.asked = True
            if value is not None:
                partition.activation = unpack_activation(value)
            elif partition.ran:
                # Written before activations were recorded: what it ran with is known, not since when.
                partition.activation = Activation(seq=0, in_off=0, clock=0, versions=partition.ran)
            return
        _, name, version = key.split(" ")
        found = None if value is None else unpack_definition(value, (name, version))
        partition.stored[name, version] = found

    def _definition(self, partition: JourneyPartition, version: Version) -> Journey | None:
        """A definition that the worker has itself, or that lies in the partition."""
        own = self.program.by_name.get(version[0])
        if own is not None and own.version == version[1]:
            return own.definition
        return partition.stored.get(version)

    def _activation(self, partition: JourneyPartition) -> Activation:
        """What the next batch is computed under: as it stands, or a change that begins with that batch."""
        now = partition.activation
        seq, in_off, clock = partition.seq + 1, partition.next_offset, partition.clock
        if now is None:
            return Activation(seq=seq, in_off=in_off, clock=clock, versions=self.program.versions)
        if now.versions == self.program.versions:
            return now
        if now.slot is not None and all(self._definition(partition, version) for version in now.versions.items()):
            return now
        new = [journey.definition for journey in self.program.by_name.values()]

        def known(version: Version) -> bool:
            return self._definition(partition, version) is not None

        return begin(now, new, known, seq=seq, in_off=in_off, clock=clock)

    def _program(self, partition: JourneyPartition, activation: Activation) -> Program:
        if not activation.stays and activation.versions == self.program.versions:
            return self.program
        older = [(name, version) for name, counts in activation.stays.items() for version in counts]
        key = (*sorted(activation.versions.items()), ("", ""), *sorted(older))
        program = self._programs.get(key)
        if program is None:
            definitions = [self._definition(partition, version) for version in activation.versions.items()]
            kept = [self._definition(partition, version) for version in older]
            program = compile_program([d for d in definitions if d is not None], [d for d in kept if d is not None])
            if len(self._programs) >= PROGRAMS:
                self._programs.clear()
            self._programs[key] = program
        return program

    def _switch(self, partition: JourneyPartition, activation: Activation, program: Program) -> Switch | None:
        if activation.slot is None:
            return None
        return switch_to(
            program,
            activation.change(),
            activation.seq,
            activation.clock,
            lambda version: self._definition(partition, version),
        )

    def _with_activation(
        self, partition: JourneyPartition, plan: PartitionPlan, activation: Activation
    ) -> PartitionPlan:
        """The Plan with the record of where the definitions stand, and the definitions that are needed or no more."""
        began = frozenset() if partition.activation is None else partition.activation.kept()
        kept = activation.kept()
        states = dict(plan.states)
        for version in sorted(kept - began):
            definition = self._definition(partition, version)
            packed = None if definition is None else pack_definition(definition)
            if packed is not None:
                states[definition_key(version)] = packed
        for version in sorted(began - kept):
            states[definition_key(version)] = None
        states[ACTIVATION_KEY] = pack_activation(activation)
        return structs.replace(plan, states=states, due={**dict.fromkeys(states), **plan.due})

    def _read(self, partition: JourneyPartition, record: Record) -> Incoming | Rejected | Misplaced:
        try:
            return self._placed(partition, record)
        except Exception as error:  # one event's dead letter, never its neighbours' or the worker's end
            return Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while the event was read")

    def _placed(self, partition: JourneyPartition, record: Record) -> Incoming | Rejected | Misplaced:
        read = read_event(record.value, headers=record.headers, broker_time=record.timestamp)
        if isinstance(read, Rejected):
            return read
        contact = read.event.contact
        key = contact.encode()
        if record.key == key and (contact in partition.cache or self._is_home(partition, key)):
            return read
        if size_of(record) > CARRIED_LIMIT:
            return Rejected(Reason.OVERSIZE, f"misplaced, and with its headers more than {CARRIED_LIMIT} bytes")
        return Misplaced(contact)

    def _is_home(self, partition: JourneyPartition, key: bytes) -> bool:
        """Asked once for a contact in the cache: for the 36 bytes of a UUID it takes longer than decoding."""
        return murmur2_partition(key, partition.partitions) == partition.number

    def _take(self, fold: Fold, out: _Output, record: Record, read: Incoming | Rejected | Misplaced) -> None:
        if isinstance(read, Misplaced):
            out.reroute(record, read)
        elif isinstance(read, Rejected):
            out.reject(record, read)
        else:
            trace = cloudevents.trace_of(record.headers) if record.headers else ()
            try:
                steps = fold.event(read.event, read.at)
            except Exception as error:  # one event's dead letter, never its neighbours' or the worker's end
                out.reject(record, Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while the event was applied"))
                return
            try:
                for contact, step in steps:
                    out.step(contact, step, fold.clock, read if step.outcome is not None else None, trace)
            except Exception as error:
                why = Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while its moves were written")
                raise _Unfit(record, why) from error

    def _measure(self, fold: Fold, record: Record, contact: str) -> None:
        state = fold.changed.get(contact)
        if state is not None and (size := len(pack(state))) > STATE_LIMIT:
            raise _Unfit(record, Rejected(Reason.OVERSIZE, f"with it the state would have {size} bytes"))


class _Output:
    """Collects what the steps of one batch emit and count."""

    def __init__(self, processor: JourneyProcessor, partition: JourneyPartition) -> None:
        self._processor = processor
        self._partition = partition
        self._emits: list[Emit] = []
        self._memberships: dict[tuple[str, str], Emit] = {}
        self._told: list[tuple[str, bytes]] = []
        self._moved: list[Moved] = []
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._timer_delays: list[float] = []
        self._caused_at: list[int] = []
        self._events: Counter[tuple[str, str | None, Outcome]] = Counter()
        """By type, provider and outcome: one key for an event, taken apart once for a batch."""
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
        provider = None
        if read is not None and step.outcome is not None:
            event = read.event
            provider = event.provider
            self._events[event.type, provider, step.outcome] += 1
        if step.moves:
            for move in step.moves:
                self._move(move, trace)
                self._moved.append((contact, clock))
                if move.timer is not None:
                    self._timer_delays.append((clock - parse_rfc3339(move.timer.due)) / MICROS)
                elif read is not None:
                    self._caused_at.append(read.at)
            for membership in memberships(contact, step):
                self._membership(membership)
        if step.erased:
            self._told.append((contact, b""))
        for journey in step.erased:
            key = f"{journey}/{contact}"
            self._memberships[journey, contact] = Emit(
                topic=Topic.CONTACTS, key=key.encode(), value=None, partition=self._partition.number
            )
        if provider is not None and step.counts:
            provider = _provider_label(provider)
        for count in step.counts:
            self._tallies.add(count, provider)
        for journey in step.refused:
            self._counts["consent_refused_total", journey] += 1

    def plan(self, fold: Fold, next_offset: int, definitions: Mapping[str, str]) -> PartitionPlan:
        seq = self._partition.seq + 1
        self._count_events()
        if self._moved and (hot := self._partition.hot.hot(self._moved)):
            self._counts["hot_contacts_total",] += hot
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
            counts=self._counts,
            delays={"timer_delay_seconds": self._timer_delays} if self._timer_delays else {},
            caused_at=self._caused_at,
            definitions=definitions,
            moved=self._moved,
            told=self._told,
        )

    def _count_events(self) -> None:
        counts = self._counts
        for (type_, provider, outcome), n in self._events.items():
            known = type_ if type_ in EMAIL_TYPES or type_ in CONTACT_TYPES else "custom"
            counts["events_in_total",] += n
            counts["events_consumed_total", Topic.EVENTS, _provider_label(provider), known] += n
            if outcome is Outcome.APPLIED:
                counts["events_applied_total",] += n
            else:
                counts["events_skipped_total", _SKIPPED[outcome]] += n

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
        self._told.append((move.contact, pack_told(told_of(move))))
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


def _cut(partition: JourneyPartition, batch: JourneyBatch, due: Sequence[str]) -> JourneyBatch:
    """The records before which no more timers fire than go into a batch; where there are none, the timers alone.

    ``due``: contacts that are due by the batch's clock, in order.
    """
    if not batch.items:
        return replace(batch, overdue=True)
    last = partition.timers.due(due[TIMERS_FIRED])
    assert last is not None, "these are due"
    for place, (record, read) in enumerate(batch.items):
        if isinstance(read, Incoming) and not read.event.test and read.at > last:
            if place:
                return replace(batch, items=batch.items[:place], next_offset=record.offset, overdue=True)
            return replace(batch, items=(), next_offset=partition.next_offset, now=read.at - 1, overdue=True)
    return replace(batch, overdue=True)


def _large(plan: PartitionPlan | None) -> set[str]:
    """Contacts whose state no topic takes."""
    if plan is None:
        return set()
    return {key for key, value in plan.states.items() if value is not None and len(value) > STATE_LIMIT}


def _forgotten(plan: PartitionPlan) -> list[str]:
    """Contacts that were erased in the batch."""
    return [contact for contact, move in plan.told if not move]


def _overdue(timers: TimerIndex, clock: int) -> int:
    cursor, n = Cursor(timers), 0
    while n < DUE_COUNTED and (entry := cursor.peek()) is not None and entry[0] < clock:
        cursor.skip()
        n += 1
    return n


def _provider_label(provider: str | None) -> str:
    """A closed set: a company's own events can say anything."""
    if provider is None:
        return "none"
    return provider if provider in PROVIDERS else "other"


def _unpacked(packed: bytes | None) -> ContactState | None:
    return None if packed is None else unpack(packed)


def _finished(
    program: Program, before: Mapping[str, bytes | None], after: Mapping[str, ContactState | None]
) -> Mapping[tuple[str, int], int]:
    """By how many the runs changed that finish on an older version."""
    if not program.older:
        return {}
    change: Counter[tuple[str, int]] = Counter()
    for contact, state in after.items():
        change.update(finishing(state))
        change.subtract(finishing(_unpacked(before[contact])))
    return change
