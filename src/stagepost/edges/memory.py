"""Memory twins of the mirror and the log: the same behaviour as Redis and Kafka as far as the runner can see it.

Kept honest by ``tests/contracts``, which runs one suite over them and the real parts. Single-threaded but for the
mirror's lock. The broker has transactions with open, committed and aborted records, a last stable offset, fencing by
producer epoch, and a consumer group with generations; it has no compaction, no replication and no time of its own.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from zlib import crc32

from stagepost.edges.errors import Drop, Fenced, MissingTopics, RecordsGone, Unstable
from stagepost.edges.ports import (
    Bounds,
    Change,
    ChangeKind,
    Checkpoint,
    Committed,
    Keys,
    Membership,
    Outcome,
    Placed,
    Snapshot,
    StateChange,
    StateRecord,
    Told,
    decode_committed,
)
from stagepost.engine.plan import Emit, Headers, Record, Topic
from stagepost.engine.story import STORY
from stagepost.events import murmur2_partition


class MemoryMirror:
    """``ports.Mirror`` without a server. The three attributes may be looked at, copied and put back (a rollback)."""

    piece = 500
    slots = 8

    def __init__(self) -> None:
        self.checkpoints: dict[int, Checkpoint] = {}
        self.values: dict[int, dict[str, bytes]] = {}
        self.timers: dict[int, dict[str, int]] = {}
        self.stories: dict[tuple[int, str], list[bytes]] = {}
        self._lock = threading.Lock()

    def flush(self) -> None:
        """Everything is gone, as after FLUSHALL."""
        with self._lock:
            self.checkpoints, self.values, self.timers, self.stories = {}, {}, {}, {}

    def checkpoint(self, partition: int) -> Checkpoint | None:
        return self.checkpoints.get(partition)

    def read(self, partition: int, keys: Sequence[str]) -> Snapshot | None:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None:
                return None
            values = self.values.get(partition, {})
            return Snapshot(at.seq, at.nonce, at.partial, {key: values.get(key) for key in keys})

    def keys(self, partition: int, slot: int, enough: int) -> Keys | None:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None:
                return None
            found: list[str] = []
            while slot < self.slots and len(found) < enough:
                found += [key for key in self.values.get(partition, {}) if crc32(key.encode()) % self.slots == slot]
                slot += 1
            return Keys(at.seq, at.nonce, tuple(found), slot if slot < self.slots else None)

    def apply(self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint) -> Outcome:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None or at.nonce != then.nonce:
                return Outcome.GAP
            if at.seq != expected:
                return Outcome.ALREADY if at.seq >= then.seq else Outcome.GAP
            values = self.values.setdefault(partition, {})
            timers = self.timers.setdefault(partition, {})
            for key, value, due in changes:
                values.pop(key, None)
                timers.pop(key, None)
                if value is not None:
                    values[key] = value
                    if due is not None:
                        timers[key] = due
            self.checkpoints[partition] = then
            return Outcome.OK

    def wipe(self, partition: int, fresh: Checkpoint) -> None:
        with self._lock:
            self.values.pop(partition, None)
            self.timers.pop(partition, None)
            self.checkpoints[partition] = fresh

    def due(self, partition: int) -> Mapping[str, int]:
        return dict(self.timers.get(partition, {}))

    def states(self, partition: int) -> Mapping[str, bytes]:
        return dict(self.values.get(partition, {}))

    def tell(self, partition: int, told: Sequence[Told]) -> None:
        with self._lock:
            for contact, move in told:
                kept = self.stories.pop((partition, contact), [])
                if move:
                    self.stories[partition, contact] = [*kept, move][-STORY:]

    def story(self, partition: int, contact: str) -> Sequence[bytes]:
        return tuple(self.stories.get((partition, contact), ()))

    def close(self) -> None:
        """Nothing to let go of."""


class _Fate(Enum):
    OPEN = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(eq=False)
class _Transaction:
    fate: _Fate = _Fate.OPEN
    touched: set[tuple[Topic, int]] = field(default_factory=set)
    offsets: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    """Group and input partition to offset and metadata."""


@dataclass(frozen=True, eq=False)
class _Entry:
    timestamp: int
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()
    transaction: _Transaction | None = None
    is_end: bool = False
    """The mark that ends a transaction takes an offset, and is no record."""

    def readable(self) -> bool:
        return not self.is_end and (self.transaction is None or self.transaction.fate is _Fate.COMMITTED)


@dataclass(eq=False)
class _Group:
    generation: int = 0
    members: list[MemoryIntake] = field(default_factory=list)


class MemoryBroker:
    """What outlives every client: logs, transactions, committed offsets, groups.

    ``now`` is the broker's time in micros, moved by whoever plays. ``fault`` is called with ``flush``,
    ``send_offsets``, ``commit``, ``abort`` or ``init`` before it takes effect, with a ``!`` behind the name after: what
    it raises is what the client meets, so a lost request and a lost answer can both be played.
    """

    def __init__(self, topics: Mapping[Topic, int], now: int = 1_700_000_000_000_000) -> None:
        self.now = now
        self.fault: Callable[[str], None] = lambda step: None
        self._logs: dict[tuple[Topic, int], list[_Entry]] = {
            (topic, number): [] for topic, partitions in topics.items() for number in range(partitions)
        }
        self._partitions = dict(topics)
        self._committed: dict[tuple[str, int], tuple[int, str]] = {}
        self._pending: set[_Transaction] = set()
        self._owners: dict[str, MemoryProducer] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)
        self._names = count(1)

    def publish(self, emit: Emit) -> int:
        """Append a record outside any transaction; returns its offset."""
        return self._append(emit, None)

    def committed_records(self, topic: Topic, partition: int) -> list[StateRecord]:
        """What a read_committed consumer sees, from the beginning."""
        log = self._logs[topic, partition]
        return [
            StateRecord(offset, entry.timestamp, entry.key or b"", entry.value)
            for offset, entry in enumerate(log[: self._stable(topic, partition)])
            if entry.readable()
        ]

    def move_offset(self, group: str, partition: int, offset: int) -> None:
        """As an operator's tool does: the metadata is gone."""
        self._committed[group, partition] = (offset, "")

    def _append(self, emit: Emit, transaction: _Transaction | None) -> int:
        partition = emit.partition
        if partition is None:
            partition = murmur2_partition(emit.key or b"", self._partitions[emit.topic])
        log = self._logs[emit.topic, partition]
        log.append(_Entry(self.now, emit.key, emit.value, emit.headers, transaction))
        if transaction is not None:
            transaction.touched.add((emit.topic, partition))
        return len(log) - 1

    def _stable(self, topic: Topic, partition: int) -> int:
        log = self._logs[topic, partition]
        for offset, entry in enumerate(log):
            if entry.transaction is not None and entry.transaction.fate is _Fate.OPEN:
                return offset
        return len(log)

    def _end(self, transaction: _Transaction, fate: _Fate) -> None:
        transaction.fate = fate
        for place in transaction.touched:
            self._logs[place].append(_Entry(self.now, transaction=transaction, is_end=True))
        if fate is _Fate.COMMITTED:
            self._committed.update(transaction.offsets)
        self._pending.discard(transaction)

    def _rebalance(self, name: str, topic: Topic) -> None:
        """Range over the members; each learns of it in its next poll, and belongs to no generation until then."""
        group = self._groups[name]
        group.generation += 1
        partitions = self._partitions[topic]
        share, rest = divmod(partitions, max(1, len(group.members)))
        start = 0
        for number, member in enumerate(group.members):
            end = start + share + (1 if number < rest else 0)
            member._next_assignment = (group.generation, tuple(range(start, end)))
            start = end


class MemoryLog:
    """``ports.Log`` of one process over a broker in memory."""

    def __init__(self, broker: MemoryBroker, group: str, transactional_id: str, input_topic: Topic) -> None:
        self._broker = broker
        self._group = group
        self._transactional_id = transactional_id
        self._input = input_topic

    def partitions(self, topics: Sequence[Topic]) -> Mapping[Topic, int]:
        known = self._broker._partitions
        missing = [topic.value for topic in topics if topic not in known]
        if missing:
            raise MissingTopics(missing)
        return {topic: known[topic] for topic in topics}

    def topic_id(self, topic: Topic) -> str:
        return f"id of {topic}"

    def bounds(self, topic: Topic, partition: int) -> Bounds:
        broker = self._broker
        return Bounds(0, broker._stable(topic, partition), len(broker._logs[topic, partition]))

    def intake(self, topic: Topic) -> MemoryIntake:
        return MemoryIntake(self._broker, self._group, topic)

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self._broker, self._transactional_id, self._group)

    def publisher(self) -> MemoryPublisher:
        return MemoryPublisher(self._broker)

    def reader(self, topic: Topic) -> MemoryReader:
        return MemoryReader(self._broker, topic)


class MemoryIntake:
    """``ports.Intake``. Joins the group when made, and learns of rebalances in ``poll`` only."""

    def __init__(self, broker: MemoryBroker, group: str, topic: Topic) -> None:
        self._broker, self._group, self._topic = broker, group, topic
        self._name = f"member-{next(broker._names)}"
        self._generation = -1
        self._assigned: tuple[int, ...] = ()
        self._next_assignment: tuple[int, tuple[int, ...]] | None = None
        self._changes: list[Change] = []
        self._next: dict[int, int] = {}
        self._held: set[int] = set()
        broker._groups[group].members.append(self)
        broker._rebalance(group, topic)

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        if self._next_assignment is not None:
            if self._assigned:
                self._changes.append(Change(ChangeKind.REVOKED, self._assigned))
            self._generation, self._assigned = self._next_assignment
            self._next_assignment = None
            self._next.clear()
            self._held.clear()
            self._changes.append(Change(ChangeKind.ASSIGNED, self._assigned))
        records: list[Record] = []
        for partition in sorted(self._next.keys() - self._held):
            records += self._fetch(partition, limit - len(records))
        return records

    def changes(self) -> Sequence[Change]:
        changes, self._changes = self._changes, []
        return changes

    def membership(self) -> Membership:
        if self._generation < 0:
            raise Drop("in no generation of the group")
        return Membership(self._generation, self._name, (self._group, self._generation, self._name))

    def committed(self, partition: int, timeout_s: float) -> Committed | None:
        place = (self._group, partition)
        if any(place in transaction.offsets for transaction in self._broker._pending):
            raise Unstable(f"a transaction on partition {partition} is open")
        found = self._broker._committed.get(place)
        return None if found is None else decode_committed(*found)

    def first_offset(self, partition: int, start_from: str | int) -> int:
        log = self._broker._logs[self._topic, partition]
        if start_from == "earliest":
            return 0
        if isinstance(start_from, int):
            return next((offset for offset, entry in enumerate(log) if entry.timestamp >= start_from), len(log))
        return len(log)

    def start(self, partition: int, offset: int) -> None:
        self._next[partition] = offset

    def halt(self, partition: int) -> None:
        self._next.pop(partition, None)
        self._held.discard(partition)

    def hold(self, partitions: Iterable[int]) -> None:
        self._held.update(partitions)

    def release(self, partitions: Iterable[int]) -> None:
        self._held.difference_update(partitions)

    def lag(self, partition: int, next_offset: int) -> int | None:
        end = len(self._broker._logs[self._topic, partition])
        return max(0, end - max(next_offset, self._next.get(partition, 0)))

    def undecided(self, partition: int, next_offset: int) -> Bounds | None:
        stable = self._broker._stable(self._topic, partition)
        high = len(self._broker._logs[self._topic, partition])
        return Bounds(0, stable, high) if next_offset <= stable < high else None

    def close(self) -> None:
        members = self._broker._groups[self._group].members
        if self in members:
            members.remove(self)
            self._broker._rebalance(self._group, self._topic)

    def _fetch(self, partition: int, limit: int) -> list[Record]:
        log = self._broker._logs[self._topic, partition]
        records: list[Record] = []
        offset, end = self._next[partition], self._broker._stable(self._topic, partition)
        if offset > len(log):
            raise RecordsGone(f"{self._topic}[{partition}] has no offset {offset}")
        while offset < end and len(records) < limit:
            entry = log[offset]
            if entry.readable():
                records.append(
                    Record(self._topic, partition, offset, entry.timestamp, entry.key, entry.value, entry.headers)
                )
            offset += 1
        self._next[partition] = offset
        return records


class MemoryProducer:
    """``ports.TransactionalProducer``. Records lie in the log from ``send`` on, undecided."""

    def __init__(self, broker: MemoryBroker, transactional_id: str, group: str) -> None:
        self._broker, self._id, self._group = broker, transactional_id, group
        self._transaction: _Transaction | None = None
        self._reports: list[tuple[Callable[[Placed], None], Placed]] = []

    def init(self, timeout_s: float) -> None:
        self._broker.fault("init")
        former = self._broker._owners.get(self._id)
        if former is not None and former._transaction is not None:
            self._broker._end(former._transaction, _Fate.ABORTED)
            former._transaction = None
        self._broker._owners[self._id] = self
        self._broker.fault("init!")

    def begin(self) -> None:
        self._transaction = _Transaction()
        self._broker._pending.add(self._transaction)

    def send(self, emit: Emit, on_placed: Callable[[Placed], None] | None = None) -> None:
        offset = self._broker._append(emit, self._owned())
        if on_placed is not None:
            self._reports.append((on_placed, Placed(offset, self._broker.now)))

    def flush(self, timeout_s: float) -> None:
        self._broker.fault("flush")
        self._owned()
        for report, placed in self._reports:
            report(placed)
        self._reports.clear()
        self._broker.fault("flush!")

    def send_offsets(self, offsets: Mapping[int, tuple[int, str]], member: Membership, timeout_s: float) -> None:
        self._broker.fault("send_offsets")
        transaction = self._owned()
        group = self._broker._groups[self._group]
        known = any(each._name == member.member for each in group.members)
        if not known or member.generation != group.generation:
            raise Drop(f"generation {member.generation} of {member.member} is over")
        transaction.offsets.update({(self._group, partition): place for partition, place in offsets.items()})
        self._broker.fault("send_offsets!")

    def commit(self, timeout_s: float) -> None:
        self._broker.fault("commit")
        self._broker._end(self._owned(), _Fate.COMMITTED)
        self._transaction = None
        self._broker.fault("commit!")

    def abort(self, timeout_s: float) -> None:
        self._broker.fault("abort")
        self._broker._end(self._owned(), _Fate.ABORTED)
        self._transaction = None
        self._reports.clear()
        self._broker.fault("abort!")

    def disturbed(self) -> bool:
        return False

    def discard(self) -> None:
        """What is open stays open, until a successor starts."""

    def _owned(self) -> _Transaction:
        if self._broker._owners.get(self._id) is not self or self._transaction is None:
            raise Fenced(f"another producer has the id {self._id}")
        return self._transaction


class MemoryPublisher:
    """``ports.Publisher``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def publish(self, emits: Sequence[Emit]) -> None:
        for emit in emits:
            self._broker.publish(emit)

    def flush(self, timeout_s: float) -> int:
        return 0


class MemoryReader:
    """``ports.StateReader``."""

    def __init__(self, broker: MemoryBroker, topic: Topic) -> None:
        self._broker, self._topic = broker, topic
        self._partition, self._position = 0, 0

    def seek(self, partition: int, offset: int) -> None:
        self._partition, self._position = partition, offset

    def read(self, limit: int, timeout_s: float) -> Sequence[StateRecord]:
        log = self._broker._logs[self._topic, self._partition]
        records: list[StateRecord] = []
        end = self._broker._stable(self._topic, self._partition)
        while self._position < end and len(records) < limit:
            entry = log[self._position]
            if entry.readable():
                records.append(StateRecord(self._position, entry.timestamp, entry.key or b"", entry.value))
            self._position += 1
        return records

    def position(self) -> int:
        return self._position

    def close(self) -> None:
        """Nothing to let go of."""
