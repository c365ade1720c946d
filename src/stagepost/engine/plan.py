"""What the engine is given and what it returns: records in, Plans out, and the Protocols between core and edges.

May not contain: a client, a retry, a clock. A Plan is data: carrying it out twice in two transactions, of which one
aborts, is the same as carrying it out once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from msgspec import Struct, json

from stagepost.events import Rejected

Headers = tuple[tuple[str, bytes], ...]


class Topic(StrEnum):
    """Logical topic names; the edges put the installation's prefix in front (design.md 3)."""

    RAW = "email.raw"
    RAW_DLQ = "email.raw.dlq"
    EVENTS = "email.events"
    EVENTS_DLQ = "email.events.dlq"
    TRANSITIONS = "journey.transitions"
    CONTACTS = "journey.contacts"
    STATE = "stagepost.state"
    TALLIES = "stagepost.tallies"
    TALLIES_DLQ = "stagepost.tallies.dlq"
    ROLLUP = "stagepost.rollup"
    METRICS = "email.metrics"
    ALERTS = "email.alerts"
    ALERTS_DLQ = "email.alerts.dlq"


DEAD_LETTERS = frozenset(topic for topic in Topic if topic.endswith(".dlq"))


class Record(Struct, frozen=True, gc=False):
    """One consumed record. ``timestamp`` is the broker's, in micros."""

    topic: Topic
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Emit(Struct, frozen=True, gc=False):
    """One record to produce. ``partition`` None: murmur2 of the key over the topic's partitions."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


CONTROL_KEY = b"\x00control"
"""Reserved key of control records in a state topic; a contact id cannot hold a NUL, see ``engine/intake.py``."""


class Control(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last record of every transaction of a partition, in its state topic (delivery.md 2)."""

    seq: int
    in_off: int
    """Offset of the next input record."""
    clock: int
    """Partition clock, micros."""
    n_out: int
    n_states: int
    definitions: dict[str, str]
    """Journey name to version (or the rollup's own settings version) that computed this batch."""
    codec: int
    proto: int
    writer: str
    partitions: int = 0
    """Of the input when it was written; 0 in records from before this was kept."""


encode_control = json.Encoder().encode
decode_control = json.Decoder(Control).decode


class PartitionPlan(Struct, frozen=True, kw_only=True):
    """All that one batch does to one partition; carried out in one transaction, or not at all.

    ``states`` maps a state key to its packed bytes, None for a tombstone; ``due`` maps a state key to its next timer,
    None when it has none left, for every key of ``states``. ``entries`` are the decoded states, for the cache only.
    ``after`` is published after the commit by an idempotent producer outside any transaction (alert records).
    """

    partition: int
    seq: int
    next_offset: int
    clock: int
    emits: tuple[Emit, ...] = ()
    states: Mapping[str, bytes | None] = {}
    due: Mapping[str, int | None] = {}
    entries: Mapping[str, Any] = {}
    after: tuple[Emit, ...] = ()
    counts: Mapping[tuple[str, ...], int] = {}
    """What to add to the role's counters once committed: (metric name without prefix, label values...) to a number."""
    gauges: Mapping[tuple[str, ...], float] = {}
    """What to set of the role's gauges once committed, named as in ``counts``."""
    delays: Mapping[str, Sequence[float]] = {}
    """Seconds to observe once committed: histogram name without prefix to values."""
    caused_at: Sequence[int] = ()
    """Times of the events that moved somebody, micros: from each to the commit is what people wait for."""
    definitions: Mapping[str, str] = {}
    moved: Sequence[tuple[str, int]] = ()
    """Contact and partition clock of each move, in order: for the watch over contacts that move too often."""
    told: Sequence[tuple[str, bytes]] = ()
    """For the view of contacts' last moves: contact and packed move; empty, where the contact is to be forgotten."""


class Sweep(Struct, frozen=True):
    """Which part of a partition's states is wanted next, to be brought up to other definitions."""

    slot: int
    """States lie in slots, which are swept in order."""
    since: int
    """The batch that a Listing must show at least: of what came later nothing has to be brought up."""


class Listing(Struct, frozen=True):
    """The state keys of the slots from where a Sweep begins up to ``next_slot`` (None: to the last)."""

    keys: tuple[str, ...]
    next_slot: int | None
    slots: int
    """How many there are."""


class Stateless(Protocol):
    """A processor without state: each record becomes outputs on its own (``normalise``)."""

    @property
    def input(self) -> Topic: ...

    def plan(self, partition: int, seq: int, records: Sequence[Record], next_offset: int) -> PartitionPlan: ...

    def refuse(self, partition: int, seq: int, record: Record, why: Rejected) -> PartitionPlan:
        """The Plan by which ``record`` alone becomes a dead letter, without being looked into."""
        ...


class TimersWanted(Struct, frozen=True):
    """Which timers a partition has to learn: those due behind ``after``, the next first; about ``enough``, and all that
    are due with the last of them."""

    after: int
    enough: int


class Batch(Protocol):
    """A decoded batch of one partition, opaque to the runner but for ``needs``."""

    @property
    def needs(self) -> Collection[str]:
        """State keys that the Plan will touch and the partition's cache does not hold."""
        ...


_P = TypeVar("_P")
_B = TypeVar("_B", bound=Batch)
_G = TypeVar("_G", contravariant=True)


class KeyedProcessor(Protocol[_P, _B]):
    """A keyed processor (``journey``, ``rollup``): the runner loads what ``Batch.needs`` names, then asks for the Plan.

    Everything here is pure: partitions (``_P``, satisfying ``Partition``) change only in ``learn``, ``assigned``,
    ``load``, ``survey`` and ``applied``; batches (``_B``) never.
    """

    @property
    def input(self) -> Topic: ...

    @property
    def state(self) -> Topic: ...

    @property
    def codec(self) -> int: ...

    @property
    def announces(self) -> bool:
        """Whether ``assigned`` wants the states; reading all of them is for roles with small state."""
        ...

    @property
    def switching(self) -> Switching[_P, _B] | None:
        """How its partitions change what they compute with; None when they do not."""
        ...

    def due(self, value: bytes) -> int | None:
        """The next timer in a packed state, micros; None when it has none. For rebuilding the timer index."""
        ...

    def forgets(self, value: bytes) -> bool:
        """Whether a packed state stands for somebody who was erased, of whom no view may be kept either."""
        ...

    def open(self, partition: int, partitions: int, control: Control | None) -> _P:
        """A new Partition as of ``control`` (None: nothing was processed); ``partitions``: count of the input topic."""
        ...

    def read(self, partition: _P, records: Sequence[Record], next_offset: int, now: int | None) -> _B:
        """Decode a batch once and name the states it needs. ``records`` may be empty (an idle tick).

        ``next_offset``: offset to commit for it; the Plan may end with an earlier record, or before the first, where
        more timers are due than go into a batch. ``now``: clock of an idle partition, micros; None while records flow.
        """
        ...

    def refuse(self, partition: _P, record: Record, why: Rejected) -> _B:
        """The batch by which ``record`` alone becomes a dead letter, without being looked into."""
        ...

    def unknown(self, partition: _P, batch: _B) -> TimersWanted | None:
        """What of the timer index has to be known for ``batch`` and is not; None, nearly always: nothing.

        Asked again after ``learn``. A partition that was just opened knows no timers, unless nothing was processed.
        """
        ...

    def learn(self, partition: _P, batch: _B, due: Mapping[str, int], until: int | None) -> _B:
        """Take in timers, as of the newest committed batch; returns the batch with what it needs now.

        ``due``: state key to next due time, for every key that is due behind what was known and at ``until`` or before
        (None: for all others there are).
        """
        ...

    def load(self, partition: _P, values: Mapping[str, bytes | None]) -> None:
        """Put validated reads into the cache."""
        ...

    def plan(self, partition: _P, batch: _B) -> PartitionPlan | None:
        """Compute the batch without changing the partition. None when nothing is to be done."""
        ...

    def applied(self, partition: _P, plan: PartitionPlan) -> None:
        """The Plan was committed: cache := new, seq, clock and timers move on."""
        ...

    def assigned(self, partition: _P, values: Mapping[str, bytes]) -> tuple[Emit, ...]:
        """Records to publish again outside a transaction after an assignment (live alerts); ``values``: all states.

        Empty unless ``announces``.
        """
        ...

    @property
    def surveys(self) -> bool:
        """Whether ``survey`` wants to see the states of a restored partition, some at a time."""
        ...

    def survey(self, partition: _P, values: Mapping[str, bytes | None], done: bool) -> None:
        """Take note of states as of the newest committed batch; ``done``: all have been shown, and no more is to come.

        For figures only: nothing may be computed from what was seen here.
        """
        ...

    def gauges(self, partition: _P, clock: int) -> Mapping[tuple[str, ...], float]:
        """What there is of something in the partition now, named as in ``PartitionPlan.gauges``: to be added up over
        the partitions of a worker. ``clock``: the partition's, or where it stands by now without records, micros.

        Asked every second, so it is cheap.
        """
        ...


class Switching(Protocol[_G, _B]):
    """The part of a keyed processor that brings the states of a partition up to other definitions, piece by piece."""

    def wants(self, partition: _G) -> Collection[str]:
        """State keys to ``load`` before anything is read; asked again until there are none, which is nearly always."""
        ...

    def pending(self, partition: _G) -> bool:
        """Whether there is something to do even without a record."""
        ...

    def sweep(self, partition: _G, slots: int) -> Sweep | None:
        """What to list for the next batch, of ``slots`` slots; None, nearly always, when all states are up to date."""
        ...

    def swept(self, partition: _G, batch: _B, listing: Listing) -> _B:
        """The batch with the states of ``listing`` added to it, and to its ``needs``."""
        ...


class Partition(Protocol):
    """What a processor remembers of one partition between batches."""

    number: int
    seq: int
    clock: int
    next_offset: int


Stateful = KeyedProcessor[Any, Any]
"""A keyed processor as the runner sees it: its partitions and batches are opaque."""
