"""Memory twins of the mirror and the log: the same behaviour as Redis and Kafka as far as the runner can see it.

Kept honest by ``tests/contracts``, which runs one suite over them and the real parts. Single-threaded but for the
mirror's lock. The broker has transactions with open, committed and aborted records and a timeout, a last stable offset,
fencing by producer epoch, late copies of requests, a consumer group with generations and members that it missed, and
compaction; it has no replication, and its time and its cleaning are moved by whoever plays.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import count
from zlib import crc32

from stagepost.edges.errors import Drop, Fenced, MissingTopics, RecordsGone, Unstable
from stagepost.edges.ports import (
    ALONE,
    Bounds,
    Change,
    ChangeKind,
    Checkpoint,
    Committed,
    Keys,
    Membership,
    Outcome,
    Part,
    Placed,
    Snapshot,
    StateChange,
    StateRecord,
    Timers,
    Told,
    decode_committed,
)
from stagepost.engine.attempts import Attempt
from stagepost.engine.plan import Emit, Headers, Record, Topic
from stagepost.engine.story import STORY
from stagepost.events import murmur2_partition


class MemoryMirror:
    """``ports.Mirror`` without a server. Its attributes may be looked at, copied and put back (a rollback)."""

    piece = 500
    slots = 8

    def __init__(self) -> None:
        self.checkpoints: dict[int, Checkpoint] = {}
        self.values: dict[int, dict[str, bytes]] = {}
        self.dues: dict[int, dict[str, int]] = {}
        self.stories: dict[tuple[int, str], list[bytes]] = {}
        self.attempts: dict[int, tuple[Attempt, str]] = {}
        self.marks: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def flush(self) -> None:
        """Everything is gone, as after FLUSHALL."""
        with self._lock:
            self.checkpoints, self.values, self.dues, self.stories = {}, {}, {}, {}
            self.attempts, self.marks = {}, {}

    def check(self) -> None:
        """Never too old."""

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

    def apply(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part = ALONE
    ) -> Outcome:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None or at.nonce != then.nonce:
                return Outcome.GAP
            if at.seq != expected:
                return Outcome.ALREADY if at.seq >= then.seq else Outcome.GAP
            if not part.fits(at.step):
                return Outcome.GAP
            values = self.values.setdefault(partition, {})
            dues = self.dues.setdefault(partition, {})
            for key, value, due in changes:
                values.pop(key, None)
                dues.pop(key, None)
                if value is not None:
                    values[key] = value
                    if due is not None:
                        dues[key] = due
            self.checkpoints[partition] = then
            return Outcome.OK

    def wipe(self, partition: int, fresh: Checkpoint) -> None:
        with self._lock:
            self.values.pop(partition, None)
            self.dues.pop(partition, None)
            self.checkpoints[partition] = fresh

    def timers(self, partition: int, after: int, enough: int) -> Timers | None:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None:
                return None
            later = sorted((due, key) for key, due in self.dues.get(partition, {}).items() if due > after)
            until = later[enough - 1][0] if len(later) >= enough else None
            found = {key: due for due, key in later if until is None or due <= until}
            return Timers(at.seq, at.nonce, at.partial, found, until)

    def states(self, partition: int) -> Mapping[str, bytes]:
        return dict(self.values.get(partition, {}))

    def attempt(self, partition: int) -> Attempt | None:
        found = self.attempts.get(partition)
        return None if found is None else found[0]

    def begin_attempt(self, partition: int, attempt: Attempt, writer: str) -> None:
        with self._lock:
            self.attempts[partition] = (attempt, writer)

    def end_attempt(self, partition: int, writer: str) -> None:
        with self._lock:
            if partition in self.attempts and self.attempts[partition][1] == writer:
                del self.attempts[partition]

    def tell(self, partition: int, told: Sequence[Told]) -> None:
        with self._lock:
            for contact, move in told:
                kept = self.stories.pop((partition, contact), [])
                if move:
                    self.stories[partition, contact] = [*kept, move][-STORY:]

    def story(self, partition: int, contact: str) -> Sequence[bytes]:
        return tuple(self.stories.get((partition, contact), ()))

    def retell(self, partition: int, nonce: str, told: Sequence[Told], mark: bytes) -> bool:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None or at.nonce != nonce:
                return False
            for contact, move in told:
                kept = self.stories.get((partition, contact), [])
                if len(kept) < STORY and move not in kept:
                    self.stories[partition, contact] = [move, *kept]
            self.marks[partition] = mark
            return True

    def retold(self, partition: int) -> bytes | None:
        return self.marks.get(partition)

    def close(self) -> None:
        """Nothing to let go of."""


class _Fate(Enum):
    OPEN = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(eq=False)
class _Transaction:
    producer: MemoryProducer
    fate: _Fate = _Fate.OPEN
    ends_at: int = 0
    """When the coordinator ends it; known from its first record or offset on."""
    touched: dict[tuple[Topic, int], int] = field(default_factory=dict)
    """Partitions with the offset of its first record there."""
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
    horizon: int | None = None
    """Of a tombstone: from when on compaction removes it. Set when compaction first comes by, and removes what the
    tombstone stands for (KIP-534), so that whoever has read that has the whole retention to read the tombstone too."""

    def readable(self) -> bool:
        return not self.is_end and (self.transaction is None or self.transaction.fate is _Fate.COMMITTED)


_GONE = _Entry(0, is_end=True)
"""What compaction removed: its offset stays taken."""


@dataclass(eq=False)
class _Group:
    generation: int = 0
    members: list[MemoryIntake] = field(default_factory=list)


class MemoryBroker:
    """What outlives every client: logs, transactions, committed offsets, groups.

    ``now`` is the broker's time in micros, moved by whoever plays; moving it ends transactions that time out.

    ``fault`` is called with ``flush``, ``send_offsets``, ``commit``, ``abort`` or ``init`` before it takes effect, with
    a ``!`` behind the name after: what it raises is what the client meets, so a lost request and a lost answer can both
    be played.
    """

    def __init__(self, topics: Mapping[Topic, int], now: int = 1_700_000_000_000_000) -> None:
        self._now = now
        self.fault: Callable[[str], None] = lambda step: None
        self._logs: dict[tuple[Topic, int], list[_Entry]] = {
            (topic, number): [] for topic, partitions in topics.items() for number in range(partitions)
        }
        self._starts = dict.fromkeys(self._logs, 0)
        self._partitions = dict(topics)
        self._committed: dict[tuple[str, int], tuple[int, str]] = {}
        self._pending: dict[_Transaction, None] = {}
        self._late: list[tuple[MemoryProducer, _Fate]] = []
        self._owners: dict[str, MemoryProducer] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)
        self._names = count(1)

    @property
    def now(self) -> int:
        return self._now

    @now.setter
    def now(self, now: int) -> None:
        self._now = now
        for transaction in [each for each in self._pending if each.ends_at <= now]:
            self._end(transaction, _Fate.ABORTED)
            # The coordinator goes on to the next epoch, so the owner is fenced.
            if self._owners.get(transaction.producer._id) is transaction.producer:
                del self._owners[transaction.producer._id]

    def grow(self, topic: Topic, partitions: int) -> None:
        """Somebody adds partitions by hand."""
        for number in range(self._partitions[topic], partitions):
            self._logs[topic, number] = []
            self._starts[topic, number] = 0
        self._partitions[topic] = partitions

    def hold_end(self, producer: MemoryProducer, commits: bool) -> None:
        """A copy of a request to end a transaction stays under way, as the client has repeated the request."""
        self._late.append((producer, _Fate.COMMITTED if commits else _Fate.ABORTED))

    def release_ends(self) -> int:
        """The copies arrive, and end what was written so far of the transactions that are open now.

        The producer is not told, and what it writes from here on is another transaction (librdkafka knows no KIP-890).
        A producer that was replaced has another epoch: its copies are refused. Returns how many ended something.
        """
        late, self._late = self._late, []
        ended = 0
        for producer, fate in late:
            transaction = producer._transaction
            if self._owners.get(producer._id) is producer and transaction in self._pending:
                self._end(transaction, fate)
                producer._transaction = _Transaction(producer)
                ended += 1
        return ended

    def compact(self, topic: Topic, partition: int, delete_retention_us: int) -> None:
        """Of each key the newest committed record stays, and no tombstone beyond its horizon. The log's start stays."""
        log, seen = self._logs[topic, partition], set()
        for offset in reversed(range(self._stable(topic, partition))):
            entry = log[offset]
            stays = entry.readable() and entry.key not in seen
            seen.add(entry.key if entry.readable() else None)
            if not stays or (entry.horizon is not None and entry.horizon <= self._now):
                log[offset] = _GONE
            elif entry.value is None and entry.horizon is None:
                log[offset] = replace(entry, horizon=self._now + delete_retention_us)

    def remove_before(self, topic: Topic, partition: int, offset: int) -> None:
        """As retention does."""
        place = (topic, partition)
        self._starts[place] = max(self._starts[place], offset)

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
            self._opened(transaction).touched.setdefault((emit.topic, partition), len(log) - 1)
        return len(log) - 1

    def _opened(self, transaction: _Transaction) -> _Transaction:
        """The coordinator hears of it with its first record or offset."""
        if transaction not in self._pending:
            transaction.ends_at = self._now + transaction.producer._timeout_us
            self._pending[transaction] = None
        return transaction

    def _stable(self, topic: Topic, partition: int) -> int:
        place = (topic, partition)
        firsts = [each.touched[place] for each in self._pending if place in each.touched]
        return min(firsts, default=len(self._logs[place]))

    def _end(self, transaction: _Transaction, fate: _Fate) -> None:
        transaction.fate = fate
        for place in transaction.touched:
            self._logs[place].append(_Entry(self.now, transaction=transaction, is_end=True))
        if fate is _Fate.COMMITTED:
            self._committed.update(transaction.offsets)
        self._pending.pop(transaction, None)

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

    def __init__(
        self,
        broker: MemoryBroker,
        group: str,
        transactional_id: str,
        input_topic: Topic,
        transaction_timeout_s: float = 15.0,
    ) -> None:
        self._broker = broker
        self._group = group
        self._transactional_id = transactional_id
        self._input = input_topic
        self._timeout_us = int(transaction_timeout_s * 1_000_000)

    def partitions(self, topics: Sequence[Topic]) -> Mapping[Topic, int]:
        known = self._broker._partitions
        missing = [topic.value for topic in topics if topic not in known]
        if missing:
            raise MissingTopics(missing)
        return {topic: known[topic] for topic in topics}

    def topic_id(self, topic: Topic) -> str:
        return f"id of {topic}"

    def tombstones_stay_s(self, topic: Topic) -> float | None:
        return None

    def bounds(self, topic: Topic, partition: int) -> Bounds:
        broker = self._broker
        place = (topic, partition)
        return Bounds(broker._starts[place], broker._stable(topic, partition), len(broker._logs[place]))

    def intake(self, topic: Topic) -> MemoryIntake:
        return MemoryIntake(self._broker, self._group, topic)

    def producer(self) -> MemoryProducer:
        return MemoryProducer(self._broker, self._transactional_id, self._group, self._timeout_us)

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

    @property
    def expelled(self) -> bool:
        return self not in self._broker._groups[self._group].members

    def expel(self) -> None:
        """The coordinator missed it for too long; it does not know yet."""
        self.close()

    def notice(self) -> None:
        """A heartbeat was refused: what it had is lost, and it joins anew under another name."""
        self._changes.append(Change(ChangeKind.LOST, self._assigned))
        self._name, self._generation = f"member-{next(self._broker._names)}", -1
        self._assigned = ()
        self._next.clear()
        self._held.clear()
        self._broker._groups[self._group].members.append(self)
        self._broker._rebalance(self._group, self._topic)

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
            return self._broker._starts[self._topic, partition]
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

    def at_end(self, partition: int, next_offset: int, timeout_s: float) -> bool:
        return self.lag(partition, next_offset) == 0

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
        if not self._broker._starts[self._topic, partition] <= offset <= len(log):
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

    def __init__(self, broker: MemoryBroker, transactional_id: str, group: str, timeout_us: int) -> None:
        self._broker, self._id, self._group, self._timeout_us = broker, transactional_id, group, timeout_us
        self.disconnected = False
        """To be set by whoever plays: a connection broke, ``disturbed`` tells it once."""
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
        self._transaction = _Transaction(self)

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
        self._broker._opened(transaction).offsets.update(
            {(self._group, partition): place for partition, place in offsets.items()}
        )
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
        was, self.disconnected = self.disconnected, False
        return was

    def discard(self) -> None:
        """What is open stays open, until a successor starts or its time is up."""

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
