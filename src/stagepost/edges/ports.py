"""What the runner needs of a log, a mirror and the counters: Protocols, met by the real clients and by memory twins.

May not contain: a client, a retry. Every method raises only ``errors.EdgeError`` for what it foresees. Topics are
logical here; the implementations put the prefix in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct, json

from stagepost.engine.attempts import Attempt
from stagepost.engine.plan import Emit, Record, Topic

PROTO = 1
"""Version of what the protocol writes: control record, offset metadata, mirror layout."""


class Committed(Struct, frozen=True):
    """A committed offset. ``seq`` and ``proto`` are None when its metadata is not ours: somebody moved it."""

    offset: int
    seq: int | None = None
    proto: int | None = None
    writer: str = ""


class _Metadata(Struct, frozen=True):
    s: int
    v: int
    w: str = ""


def encode_metadata(seq: int, writer: str) -> str:
    """The metadata of a committed offset. ``writer`` is one process: two owners may attempt the same ``seq``, and an
    idle one computes something else from the same offset, so the number alone does not tell whose was committed.

    >>> encode_metadata(7, "journey-1.5f")
    '{"s":7,"v":1,"w":"journey-1.5f"}'
    """
    return json.encode(_Metadata(seq, PROTO, writer)).decode()


def decode_committed(offset: int, metadata: str | None) -> Committed:
    """What ``committed`` returns for an offset and its metadata.

    >>> decode_committed(9, '{"s":7,"v":1,"w":"a"}'), decode_committed(9, "moved by hand")
    (Committed(offset=9, seq=7, proto=1, writer='a'), Committed(offset=9, seq=None, proto=None, writer=''))
    """
    try:
        ours = json.decode(metadata or "", type=_Metadata)
    except ValueError:
        return Committed(offset)
    return Committed(offset, ours.s, ours.v, ours.w)


class ChangeKind(StrEnum):
    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"
    """Revoked too late: another member may already own it."""


class Change(Struct, frozen=True):
    """What a rebalance callback recorded."""

    kind: ChangeKind
    partitions: tuple[int, ...]


class Membership(Struct, frozen=True):
    """Who we are in the group, taken once per batch. ``token`` is what the client library sends with offsets."""

    generation: int
    member: str
    token: object


class Bounds(Struct, frozen=True):
    """Offsets of a partition: its first record, the end for read_committed readers, the true end."""

    low: int
    stable: int
    high: int


class StateRecord(Struct, frozen=True, gc=False):
    """One record of a state topic; ``timestamp`` is the broker's, micros."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes | None


class Placed(Struct, frozen=True):
    """Where a produced record came to lie. ``timestamp`` in micros, None when it is not the broker's."""

    offset: int
    timestamp: int | None


class Intake(Protocol):
    """A member of the role's consumer group. Callbacks run inside ``poll`` only, and only record."""

    def poll(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """Up to ``limit`` records of started partitions; early when there are some. Raises Stop, RecordsGone."""
        ...

    def changes(self) -> Sequence[Change]:
        """Rebalances since the last call, in order. Newly assigned partitions deliver nothing until ``start``."""
        ...

    def membership(self) -> Membership:
        """Raises Drop when we are in no generation of the group."""
        ...

    def committed(self, partition: int, timeout_s: float) -> Committed | None:
        """None when nothing was ever committed. Raises Unstable while a transaction on it is undecided."""
        ...

    def first_offset(self, partition: int, start_from: str | int) -> int:
        """Where a partition begins that has no committed offset: ``earliest``, ``latest`` or a time in micros."""
        ...

    def start(self, partition: int, offset: int) -> None:
        """Deliver records from ``offset`` on."""
        ...

    def halt(self, partition: int) -> None:
        """Deliver no more until ``start``. A record already under way may still come."""
        ...

    def hold(self, partitions: Iterable[int]) -> None:
        """Deliver none of these for now; positions are kept."""
        ...

    def release(self, partitions: Iterable[int]) -> None:
        """Undo ``hold``."""
        ...

    def lag(self, partition: int, next_offset: int) -> int | None:
        """Records between ``next_offset`` and the end, undecided ones included; None while not known."""
        ...

    def at_end(self, partition: int, next_offset: int, timeout_s: float) -> bool:
        """Whether the partition's leader says now that nothing lies beyond; ``lag`` goes by what it said last."""
        ...

    def undecided(self, partition: int, next_offset: int) -> Bounds | None:
        """Where an open transaction keeps readers below the end; None when nothing does, or records are waiting."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class TransactionalProducer(Protocol):
    """One producer with a transactional id. Raises Retry, Abort, Drop, NewProducer, Fenced or Stop."""

    def init(self, timeout_s: float) -> None:
        """Fence former producers with the same id, and end what they left open."""
        ...

    def begin(self) -> None: ...

    def send(self, emit: Emit, on_placed: Callable[[Placed], None] | None = None) -> None: ...

    def flush(self, timeout_s: float) -> None:
        """Returns when everything sent was acknowledged, and ``on_placed`` called; raises Retry when time is up."""
        ...

    def send_offsets(self, offsets: Mapping[int, tuple[int, str]], member: Membership, timeout_s: float) -> None:
        """``offsets``: input partition to (next offset, metadata)."""
        ...

    def commit(self, timeout_s: float) -> None: ...

    def abort(self, timeout_s: float) -> None: ...

    def disturbed(self) -> bool:
        """Whether a connection broke, or a request was repeated, since the last call."""
        ...

    def discard(self) -> None:
        """Let go without waiting for anything."""
        ...


class Publisher(Protocol):
    """An idempotent producer outside any transaction: records are kept until delivered."""

    def publish(self, emits: Sequence[Emit]) -> None: ...

    def flush(self, timeout_s: float) -> int:
        """How many are not delivered yet."""
        ...


class StateReader(Protocol):
    """Reads one partition of the state topic at a time, committed records only, outside any group."""

    def seek(self, partition: int, offset: int) -> None:
        """Read from ``offset`` of ``partition`` on; ends what was read before."""
        ...

    def read(self, limit: int, timeout_s: float) -> Sequence[StateRecord]: ...

    def position(self) -> int:
        """Everything below this offset was returned by ``read``, or holds nothing for readers."""
        ...

    def close(self) -> None: ...


class Log(Protocol):
    """The broker, for one role of one installation."""

    def partitions(self, topics: Sequence[Topic]) -> Mapping[Topic, int]:
        """Raises MissingTopics naming all that are not there."""
        ...

    def topic_id(self, topic: Topic) -> str:
        """Differs when a topic was deleted and made again."""
        ...

    def tombstones_stay_s(self, topic: Topic) -> float | None:
        """``delete.retention.ms`` of a topic, in seconds; None where the broker does not tell."""
        ...

    def bounds(self, topic: Topic, partition: int) -> Bounds: ...

    def intake(self, topic: Topic) -> Intake: ...

    def producer(self) -> TransactionalProducer: ...

    def publisher(self) -> Publisher: ...

    def reader(self, topic: Topic) -> StateReader: ...


class Checkpoint(Struct, frozen=True, kw_only=True):
    """Which prefix of the state topic a partition of the mirror shows."""

    seq: int
    """Number of the last batch in it; 0: none."""
    coff: int
    """Offset in the state topic from which a restore goes on."""
    in_off: int
    topic_id: str
    nonce: str
    """New with every wipe, so that a late write of before cannot be taken for one of after."""
    asof: int
    """Broker time of the control record, micros; 0: none."""
    codec: int
    proto: int = PROTO
    partitions: int
    """Of the input topic, when this was written."""
    control: bytes = b""
    """The control record of ``seq`` as it lies in the state topic; empty at seq 0."""
    partial: bool = False
    """Some states are newer than ``seq``: a batch in several calls or a restore is under way. Not to compute on."""
    step: str = ""
    """While ``partial``: what was written last, see ``Part``."""


class Part(Struct, frozen=True):
    """One call of several that write a batch together. What went before it has to be there still.

    Number and nonce alone do not show that: a server that comes back from an older dump in between is at the same batch
    without the first calls, and another writer may have begun meanwhile.
    """

    application: str = ""
    """Of all calls that belong together, and of no others."""
    number: int = 0
    """From 0."""
    begun_on: str = ""
    """``step`` of the checkpoint that the first call begins on."""

    def fits(self, step: str) -> bool:
        """Whether this part may be written where ``step`` was written last. A part may come again, as after a lost
        answer."""
        if self.number == 0 and step == self.begun_on:
            return True
        application, _, parts = step.rpartition(":")
        return bool(application) and application == self.application and int(parts) >= self.number

    @property
    def step(self) -> str:
        """What the checkpoint says once it is written."""
        return f"{self.application}:{self.number + 1}"


ALONE = Part()
"""A batch in one call, begun where nobody has left one unfinished."""


class Outcome(StrEnum):
    """Of a compare-and-set."""

    OK = "ok"
    ALREADY = "already"
    """The mirror shows this batch or a newer one."""
    GAP = "gap"
    """It is not at the batch before: rolled back, emptied, or another owner's."""


StateChange = tuple[str, bytes | None, int | None]
"""State key, packed state (None: tombstone), next due time in micros (None: no timer)."""


Told = tuple[str, bytes]
"""Contact and one move of it, packed; empty: all that was told of it is to be forgotten."""


class Snapshot(Struct, frozen=True):
    """What a read saw, and of which batch: ``values`` holds every key that was asked for."""

    seq: int
    nonce: str
    partial: bool
    values: Mapping[str, bytes | None]


class Timers(Struct, frozen=True):
    """What a read of the timer index saw, and of which batch.

    ``due``: state key to next due time, for every key due behind what was asked for and at ``until`` or before (None:
    for all there are).
    """

    seq: int
    nonce: str
    partial: bool
    due: Mapping[str, int]
    until: int | None


class Keys(Struct, frozen=True):
    """State keys that a listing saw, and of which batch, or of a part of the next one too.

    ``next_slot`` None: those of the last slot are among them.
    """

    seq: int
    nonce: str
    keys: tuple[str, ...]
    next_slot: int | None


class Mirror(Protocol):
    """The rebuildable copy of state. Raises MirrorUnavailable or Stop."""

    @property
    def piece(self) -> int:
        """Most states in one call, which nothing interrupts; larger batches come in several."""
        ...

    def check(self) -> None:
        """Raises Outdated when the server is too old; asks once, when it answers."""
        ...

    def checkpoint(self, partition: int) -> Checkpoint | None: ...

    def read(self, partition: int, keys: Sequence[str]) -> Snapshot | None:
        """Values and the batch they show, seen at one instant; None where there is no checkpoint."""
        ...

    @property
    def slots(self) -> int:
        """In how many slots the states of a partition lie; where a key lies never changes."""
        ...

    def keys(self, partition: int, slot: int, enough: int) -> Keys | None:
        """State keys from ``slot`` on, seen at one instant: whole slots, until there are ``enough``, or many slots."""
        ...

    def apply(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part = ALONE
    ) -> Outcome:
        """Compare-and-set from batch ``expected`` under ``then.nonce`` to ``then``, all changes in one instant."""
        ...

    def wipe(self, partition: int, fresh: Checkpoint) -> None:
        """Remove everything of the partition and begin at ``fresh``."""
        ...

    def timers(self, partition: int, after: int, enough: int) -> Timers | None:
        """About ``enough`` entries of the timer index, those due next behind ``after`` (-1: behind nothing).

        Seen at one instant; None where there is no checkpoint.
        """
        ...

    def states(self, partition: int) -> Mapping[str, bytes]:
        """All states. For small state only."""
        ...

    def attempt(self, partition: int) -> Attempt | None:
        """What a process that began a batch left behind; None when nothing is under way, or nobody knows."""
        ...

    def begin_attempt(self, partition: int, attempt: Attempt, writer: str) -> None:
        """Write down that ``writer`` begins a batch, outside the chain of batches."""
        ...

    def end_attempt(self, partition: int, writer: str) -> None:
        """Nothing that ``writer`` began is under way; what another one began stays."""
        ...

    def tell(self, partition: int, told: Sequence[Told]) -> None:
        """Add to the stories of contacts, outside the chain of batches: at least once, the newest are kept."""
        ...

    def story(self, partition: int, contact: str) -> Sequence[bytes]:
        """What was told of a contact, the oldest first; a move may be there twice."""
        ...

    def retell(self, partition: int, nonce: str, told: Sequence[Told], mark: bytes) -> bool:
        """Add moves, the newest first, before what is told of contacts: those not there yet, where there is room. Then
        note ``mark``. False, and no more is done, where the checkpoint has another nonce or is not there."""
        ...

    def retold(self, partition: int) -> bytes | None:
        """The last ``mark``."""
        ...

    def close(self) -> None: ...


class Counters(Protocol):
    """Where the runner tells what it did. Names are those of ``experience.md`` 3 without the prefix ``stagepost_``."""

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        """Add to counters: (name, label values...) to a number."""
        ...

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Record one observation of a histogram."""
        ...

    def forget(self, name: str, *labels: str) -> None:
        """Take back a gauge with these labels; one that was never set is passed over."""
        ...


class NoCounters:
    """For runs that nobody watches."""

    def add(self, counts: Mapping[tuple[str, ...], int]) -> None:
        pass

    def set(self, name: str, value: float, *labels: str) -> None:
        pass

    def observe(self, name: str, value: float, *labels: str) -> None:
        pass

    def forget(self, name: str, *labels: str) -> None:
        pass
