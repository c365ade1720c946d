"""More partitions for an installation at rest: every contact's state goes to its new partition (delivery.md 4).

The order makes every point of it safe to stop at, and the whole safe to begin again:

1. Nothing is touched unless no worker runs and all input is processed.
2. ``journey.contacts`` and ``stagepost.state`` are made larger first. From then on the state has another number of
   partitions than the input, and no worker starts.
3. Contacts move piece by piece, each piece in one transaction: the state in its new partition, a tombstone in the old
   one. What a stopped run has moved is not there any more for the next one.
4. One transaction closes all partitions: definitions, control records, committed offsets with the new batch numbers.
   Done twice, it only counts one batch more.
5. The mirror is emptied; it is rebuilt from the new layout.
6. ``email.events`` is made larger last, in one step of the broker: now the counts agree, and workers start.

Where somebody has made ``email.events`` larger by hand, workers refuse to start and cannot process what is left; then
it is done all the same. What lies in the old partitions of contacts that have moved is rerouted by the workers, so it
may be applied after younger events.

Partitions cannot be taken away, so their number only grows. ``stagepost.tallies`` and ``stagepost.rollup`` are
partitioned by scope and stay as they are. May not contain: where a contact goes (``engine/repartition.py``).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from stagepost.edges.admin import group_members
from stagepost.edges.errors import Stop
from stagepost.edges.group_offsets import metadata_of
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.pieces import Pieces
from stagepost.edges.ports import (
    PROTO,
    Checkpoint,
    Committed,
    Membership,
    Mirror,
    decode_committed,
    encode_metadata,
)
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import CONTROL_KEY, Control, Emit, Topic, decode_control
from stagepost.engine.repartition import (
    Source,
    closing_records,
    moved_memberships,
    moved_states,
    refuse_unless_settled,
    source_of,
)
from stagepost.journey.state import CODEC

_ASK_S = 10.0
_CALL_S = 30.0
_CREATION_S = 30.0

_READ = 5_000

PIECE = 2_000
"""Contacts in one transaction."""

_SILENT_S = 20.0
"""Without a record and without the end: an open transaction, or a broker that is away."""

ROLES = ("normalise", "journey", "rollup")
"""None of them may run: they write to the input, to the state, or count its partitions."""


@dataclass(frozen=True)
class Before:
    """An installation as it is found. ``left``: input partition to records that are not processed."""

    partitions: int
    members: Mapping[str, int]
    left: Mapping[int, int]
    done: bool
    """Nothing is to be moved."""


@dataclass
class Moved:
    """Contacts and memberships that changed, or would change, their partition."""

    contacts: int = 0
    memberships: int = 0


@dataclass
class Repartition:
    """One run of the verb. For one thread."""

    kafka: KafkaSettings
    prefix: str
    mirror: Mirror
    told: Callable[[str], None]
    progress: Callable[[int, int], None]
    _names: TopicNames = field(init=False)
    _log: KafkaLog = field(init=False)
    _admin: AdminClient = field(init=False)
    _group: Consumer = field(init=False)

    def __post_init__(self) -> None:
        self._names = TopicNames(self.prefix)
        # One id for all runs: a run that still writes is fenced by the next one.
        self._log = KafkaLog(self.kafka, "repartition", "only", self.prefix, Topic.EVENTS)
        self._admin = AdminClient({"log_level": 0, **self.kafka.base()})
        # Never subscribes, so it is no member: it only reads and names the group.
        self._group = Consumer({**self.kafka.base(), "group.id": self._names.group("journey"), "log_level": 0})

    def before(self, partitions: int) -> Before:
        """Look whether it can begin. Raises Stop where that is not a matter of waiting."""
        counts = self._log.partitions([Topic.EVENTS, Topic.STATE, Topic.CONTACTS, Topic.TALLIES])
        now, state, contacts = counts[Topic.EVENTS], counts[Topic.STATE], counts[Topic.CONTACTS]
        if partitions < now:
            raise Stop(f"{self._names.full(Topic.EVENTS)} has {now} partitions, and Kafka cannot take any away")
        begun = max(state, contacts)
        if begun > partitions or now < state < partitions:
            raise Stop(f"a change to {begun} partitions was begun: finish it with --partitions {begun}")
        members = self._members()
        by_hand = state < now
        left = {} if members or by_hand else {p: n for p in range(now) if (n := self._unprocessed(p))}
        if now == state == contacts == partitions:
            # As it is to be; only a run that was stopped after somebody's change by hand can have left something.
            done = bool(members) or self._is_whole(partitions)
            return Before(now, {} if done else members, {} if done else left, done)
        return Before(now, members, left, False)

    def would_move(self, partitions: int) -> Moved:
        """Count, and change nothing. Raises Stop and NotAtRest as ``run`` does."""
        return self._look(partitions, self._states())

    def run(self, now: int, partitions: int) -> Moved:
        """Do it, from ``now`` partitions; ``before`` has allowed it. Raises EdgeError; then it is to be run again."""
        self._look(partitions, self._states())
        self._grow(Topic.CONTACTS, partitions)
        self._grow(Topic.STATE, partitions)
        self._refuse_members()
        pieces = Pieces(self._log.producer, _CALL_S)
        try:
            moved = Moved()
            for partition in range(partitions):
                self.progress(partition, partitions)
                self._move(pieces, partition, partitions, moved)
                self.told(f"partition {partition}: {moved.contacts:,} contacts moved so far")
            self._close_all(pieces, now, partitions)
        finally:
            pieces.close()
        self.told("every partition is closed by a control record")
        for partition in range(partitions):
            self.mirror.wipe(partition, _nothing(partitions))
        self.told("the mirror is empty, and will be rebuilt")
        self._grow(Topic.EVENTS, partitions)
        self.progress(partitions, partitions)
        return moved

    def close(self) -> None:
        self._group.close()

    def _look(self, partitions: int, states: int) -> Moved:
        """All partitions once: that they are whole and under the same journeys, and what would move."""
        moved, sources = Moved(), []
        for partition in range(states):
            self.progress(partition, states)
            fold, control, _ = self._fold(Topic.STATE, partition)
            self._refuse_other(partition, control)
            sources.append(source_of(partition, fold, control))
            moved.contacts += sum(1 for _ in moved_states(fold, partition, partitions))
        refuse_unless_settled(sources)
        for partition in range(self._log.partitions([Topic.CONTACTS])[Topic.CONTACTS]):
            fold, _, _ = self._fold(Topic.CONTACTS, partition)
            moved.memberships += sum(1 for _ in moved_memberships(fold, partition, partitions))
        return moved

    def _move(self, pieces: Pieces, partition: int, partitions: int, moved: Moved) -> None:
        states, _, _ = self._fold(Topic.STATE, partition)
        leaving = list(moved_states(states, partition, partitions))
        for start in range(0, len(leaving), PIECE):
            piece = leaving[start : start + PIECE]
            # Before the transaction: a story that stayed behind would be found by no later erasure.
            for contact, home, _ in piece:
                told = self.mirror.story(partition, contact)
                if told:
                    self.mirror.tell(home, [(contact, each) for each in told])
                    self.mirror.tell(partition, [(contact, b"")])
            pieces.carry(_moving(Topic.STATE, partition, piece))
            moved.contacts += len(piece)
        records, _, _ = self._fold(Topic.CONTACTS, partition)
        memberships = list(moved_memberships(records, partition, partitions))
        for start in range(0, len(memberships), PIECE):
            pieces.carry(_moving(Topic.CONTACTS, partition, memberships[start : start + PIECE]))
        moved.memberships += len(memberships)

    def _close_all(self, pieces: Pieces, now: int, partitions: int) -> None:
        sources: list[Source] = []
        for partition in range(partitions):
            fold, control, _ = self._fold(Topic.STATE, partition)
            self._refuse_other(partition, control)
            sources.append(source_of(partition, fold, control))
        self._refuse_members()
        tallies = self._log.partitions([Topic.TALLIES])[Topic.TALLIES]
        offsets: dict[int, tuple[int, str]] = {}
        records = list(closing_records(sources, self._first, tallies, "repartition", PROTO))
        if not records:
            return
        for emit, control in records:
            # A partition that the input does not have yet goes on from its control record.
            if control is not None and emit.partition is not None and emit.partition < now:
                offsets[emit.partition] = (control.in_off, encode_metadata(control.seq, control.writer))
        member = Membership(-1, "", self._group.consumer_group_metadata())
        pieces.carry((emit for emit, _ in records), lambda producer: producer.send_offsets(offsets, member, _CALL_S))

    def _refuse_other(self, partition: int, control: Control | None) -> None:
        """Raises Stop unless the committed offset belongs to the newest control record."""
        if partition >= self._log.partitions([Topic.EVENTS])[Topic.EVENTS]:
            return
        committed = self._committed(partition)
        if committed is None and control is None:
            return
        if committed is None or control is None or (committed.offset, committed.seq) != (control.in_off, control.seq):
            raise Stop(
                f"partition {partition}: the committed offset is not where the state ends; it was moved, or a worker "
                "has just committed. Run the journey role until it is at rest"
            )

    def _members(self) -> dict[str, int]:
        """Groups that have members, and how many."""
        names = [self._names.group(role) for role in ROLES]
        return {name: members for name, members in group_members(self._admin, names).items() if members}

    def _refuse_members(self) -> None:
        members = self._members()
        if members:
            raise Stop(f"workers have started meanwhile: {', '.join(sorted(members))}; stop them, and run this again")

    def _committed(self, partition: int) -> Committed | None:
        place = TopicPartition(self._names.full(Topic.EVENTS), partition)
        [found] = self._group.committed([place], _ASK_S)
        if found.error is not None:
            raise Stop(f"{place.topic}[{partition}]: the committed offset is undecided: {found.error.str()}")
        return None if found.offset < 0 else decode_committed(found.offset, metadata_of(found))

    def _unprocessed(self, partition: int) -> int:
        """Records of the input beyond the committed offset."""
        committed = self._committed(partition)
        bounds = self._log.bounds(Topic.EVENTS, partition)
        begin = bounds.low if committed is None else max(committed.offset, bounds.low)
        return sum(1 for _ in self._records(Topic.EVENTS, partition, begin))

    def _first(self, partition: int) -> int:
        """Where the input of a partition begins; 0 while there is none."""
        there = partition < self._log.partitions([Topic.EVENTS])[Topic.EVENTS]
        return self._log.bounds(Topic.EVENTS, partition).low if there else 0

    def _is_whole(self, partitions: int) -> bool:
        """Whether every contact is where it belongs, and every partition closed by a control record."""
        for partition in range(partitions):
            fold, _, open_ = self._fold(Topic.STATE, partition)
            if open_ or any(moved_states(fold, partition, partitions)):
                return False
            if any(moved_memberships(self._fold(Topic.CONTACTS, partition)[0], partition, partitions)):
                return False
        return True

    def _fold(self, topic: Topic, partition: int) -> tuple[dict[str, bytes], Control | None, int]:
        """What a partition holds; of a state topic its newest control record, and how many records follow it."""
        if partition >= self._log.partitions([topic])[topic]:
            return {}, None, 0
        open_ = 0
        fold: dict[str, bytes] = {}
        control: Control | None = None
        for key, value in self._records(topic, partition, self._log.bounds(topic, partition).low):
            open_ += 1
            if key == CONTROL_KEY:
                control, open_ = decode_control(value or b""), 0
            elif value is None:
                fold.pop(key.decode(), None)
            else:
                fold[key.decode()] = value
        return fold, control, open_

    def _records(self, topic: Topic, partition: int, begin: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Key and value of every committed record from ``begin`` to the true end."""
        bounds = self._log.bounds(topic, partition)
        reader = self._log.reader(topic)
        try:
            reader.seek(partition, begin)
            heard = time.monotonic()
            while reader.position() < bounds.high:
                records = reader.read(_READ, 0.1)
                if records:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENT_S:
                    raise Stop(
                        f"{self._names.full(topic)}[{partition}] cannot be read to its end at {bounds.high}: a "
                        "transaction is open (stagepost doctor says which)"
                    )
                for record in records:
                    yield record.key, record.value
        finally:
            reader.close()

    def _states(self) -> int:
        return self._log.partitions([Topic.STATE])[Topic.STATE]

    def _grow(self, topic: Topic, partitions: int) -> None:
        if self._log.partitions([topic])[topic] == partitions:
            return
        name = self._names.full(topic)
        try:
            [future] = self._admin.create_partitions(
                [NewPartitions(name, partitions)], operation_timeout=_CREATION_S
            ).values()
            future.result()
        except KafkaException as error:
            raise Stop(f"{name}: {error.args[0].str()}") from error
        deadline = time.monotonic() + _CREATION_S
        while time.monotonic() < deadline:
            known = self._admin.list_topics(name, timeout=_ASK_S).topics[name].partitions
            if len(known) == partitions and all(each.leader >= 0 for each in known.values()):
                self.told(f"{name} has {partitions} partitions")
                return
            time.sleep(0.05)
        raise Stop(f"{name}: its new partitions have no leader after {_CREATION_S:g} s")


def _moving(topic: Topic, partition: int, piece: Sequence[tuple[str, int, bytes]]) -> Iterator[Emit]:
    """Keys out of a partition, with their values into others."""
    for key, _, _ in piece:
        yield Emit(topic=topic, key=key.encode(), value=None, partition=partition)
    for key, home, value in piece:
        yield Emit(topic=topic, key=key.encode(), value=value, partition=home)


def _nothing(partitions: int) -> Checkpoint:
    """Of no topic, so that no worker takes it for the state of one; and of the new number of partitions."""
    return Checkpoint(
        seq=0,
        coff=0,
        in_off=0,
        topic_id="",
        nonce=uuid.uuid4().hex,
        asof=0,
        codec=CODEC,
        partitions=partitions,
    )
