"""What differs between the two kinds of processor: how a partition is restored, a batch computed, a commit followed.

The loop in ``runner.py`` knows no state and no mirror; this module knows no transaction and no group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from msgspec import structs

from stagepost.edges.applier import Application, Applications, Applier
from stagepost.edges.clock import REAL, Clock
from stagepost.edges.errors import EdgeError, Outdated, SlowDown, Stop
from stagepost.edges.ports import (
    PROTO,
    Checkpoint,
    Committed,
    Counters,
    Intake,
    Mirror,
    Outcome,
    Snapshot,
    StateChange,
    Timers,
)
from stagepost.edges.restore import Readers, Restore, offset_moved, once_decided, unreadable
from stagepost.edges.transactions import Written
from stagepost.engine.attempts import Attempt, Care, after_death, deadly
from stagepost.engine.plan import (
    Emit,
    Listing,
    Partition,
    PartitionPlan,
    Record,
    Stateful,
    Stateless,
    Sweep,
    TimersWanted,
)
from stagepost.events import Rejected

_T = TypeVar("_T")
_S = TypeVar("_S", Snapshot, Timers)

_BATCH_S = 1.0
"""For the applier to finish a batch of several calls, 10 ms each."""


_UNTRIED_S = 30.0
"""How long a role that can do without Redis leaves it alone after it did not answer."""

NewApplier = Callable[[Mirror, Counters, Clock], Applications[Any]]


class MirrorRefused(SlowDown):
    """The mirror does not show the batch that it should: nothing may be computed from it."""

    def __init__(self, message: str, kind: str) -> None:
        """``kind``: of the closed list of the metric ``mirror_refusals_total``."""
        super().__init__(message)
        self.kind = kind


@dataclass(eq=False, kw_only=True)
class Owned:
    """One partition that is ours and restored. Every assignment and every restore makes a new one."""

    number: int
    next_offset: int
    seq: int
    broker_us: int
    """Last broker timestamp known of the partition, that of its own control records included; 0: none, and its idle
    clock stands until others have one."""
    broker_at: float
    """Our own time when that was learned."""
    record_us: int = 0
    """Broker timestamp of the newest record that was read; 0: none yet. What lies between it and now is the lag."""
    active_at: float
    """Our own time of its last record, or of its start."""
    ask_at: float = 0.0
    """Our own time from which the broker is asked again whether there are no more records."""
    at_end_until: float = 0.0
    """Until when its word is believed."""
    announcements: tuple[Emit, ...] = ()
    state: Partition | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)
    """What computed its last batch."""
    checkpoint: Checkpoint | None = None
    """Of the mirror, once everything queued is applied."""
    applied_seq: int = 0
    """The batch that the mirror is known to have."""
    pending: deque[PartitionPlan] = field(default_factory=deque)
    """Committed, and not yet known to be in the mirror."""
    given_up: bool = False
    """No longer ours, or restored anew."""
    care: Care | None = None
    """How its next records are to be tried, while one among them may be bad."""
    condemned: Rejected | None = field(init=False)
    """Why its next record is not to be tried again."""
    fresh: bool = True
    """No batch was carried out since the restore: should the process end over it, the next one has to know."""
    begun: bool = False
    """Such a batch is being computed."""
    comparing: bool = False
    """The mirror is being looked at."""
    unseen: int | None = None
    """The slot from which a survey of its states goes on; None: there is none to be made."""

    def __post_init__(self) -> None:
        self.condemned = deadly() if self.care is not None and self.care.hopeless else None

    @property
    def begins_late(self) -> bool:
        """Nothing was committed yet, and it does not begin with offset 0: its first batch says so at once, also an
        empty one. The end of today (``--from latest``) is not that of the next start."""
        return self.seq == 0 and self.next_offset > 0

    def saw(self, broker_us: int, at: float) -> None:
        """A record came with this broker time. The clock of a partition does not go back."""
        if broker_us > self.broker_us:
            self.broker_us, self.broker_at = broker_us, at

    def now_us(self, at: float) -> int:
        """Broker time at ``at``: the last one known and the monotonic time since."""
        return self.broker_us + int((at - self.broker_at) * 1_000_000)


class Work(Protocol):
    """One kind of processor. Errors that route: SlowDown restores the partition, the rest is the loop's."""

    idles: bool
    """Whether partitions without records are to be ticked."""

    def restore(self, partition: int) -> Generator[None, None, Owned]: ...

    def plan(
        self, owned: Owned, records: Sequence[Record], next_offset: int, now: int | None
    ) -> PartitionPlan | None: ...

    def refuse(self, owned: Owned, record: Record, why: Rejected) -> PartitionPlan:
        """The Plan by which the next record becomes a dead letter without being looked into."""
        ...

    def pending(self, owned: Owned) -> bool:
        """Whether the partition has something to do even without a record, and at once."""
        ...

    def begin(self, owned: Owned, attempt: Attempt) -> None:
        """Write down, where it outlives this process, that a batch is going to be computed."""
        ...

    def end(self, owned: Owned) -> None:
        """It was computed, or is not going to be by us: the process did not end over it."""
        ...

    def survey(self, owned: Owned) -> None:
        """Show the processor some states that it wants to see for its figures."""
        ...

    def gauges(self, owned: Owned, clock: int | None) -> Mapping[tuple[str, ...], float]:
        """Figures of the partition; ``clock``: where an idle one stands by now, micros."""
        ...

    def committed(self, owned: Owned, plan: PartitionPlan, written: Written, transaction: int) -> None: ...

    def refused(self) -> Collection[tuple[Owned, str]]:
        """Partitions that the mirror lost since the last call, with the reason."""
        ...

    def compare(self, owned: Owned) -> None:
        """Look whether the mirror of an idle partition is what it was; the answer comes with ``refused``."""
        ...

    def full(self) -> bool:
        """Whether input has to be held back."""
        ...

    def staleness_s(self, owned: Owned, at: float) -> float: ...

    def released(self, owned: Owned) -> None:
        """The partition is no longer ours, or is restored anew."""
        ...

    def not_ready(self) -> tuple[str, ...]: ...

    def settled(self) -> None:
        """No partition is in restore."""
        ...

    def close(self, within_s: float) -> None: ...


class StatelessWork:
    """``Stateless``: the batch number lives in the offset metadata alone."""

    idles = False

    def __init__(
        self,
        processor: Stateless,
        intake: Intake,
        start_from: str | int,
        mirror: Mirror | None,
        writer: str,
        stuck_after_s: float,
        rebuild: bool = False,
        clock: Clock = REAL,
    ) -> None:
        """``mirror``: where batches that were begun are written down; a role without state does without it as well.
        ``stuck_after_s``: by then the broker has ended any transaction whose owner died. ``rebuild``: go on from an
        offset that was moved by hand."""
        self._processor = processor
        self._intake = intake
        self._start_from = start_from
        self._mirror = mirror
        self._writer = writer
        self._stuck_after_s = stuck_after_s
        self._rebuild = rebuild
        self._clock = clock
        self._untried_until = clock.monotonic()
        self._log = structlog.get_logger(__name__)

    def restore(self, partition: int) -> Generator[None, None, Owned]:
        def place() -> tuple[int, int]:
            committed = self._intake.committed(partition, 1.0)
            if committed is None:
                return 0, self._intake.first_offset(partition, self._start_from)
            return self._seq_of(partition, committed), committed.offset

        seq, offset = yield from once_decided(place, partition, self._stuck_after_s, self._clock, self._log)
        now = self._clock.monotonic()
        found = self._ask(lambda mirror: mirror.attempt(partition))
        return Owned(
            number=partition,
            next_offset=offset,
            seq=seq,
            broker_us=0,
            broker_at=now,
            active_at=now,
            care=after_death(found, offset),
        )

    def _seq_of(self, partition: int, committed: Committed) -> int:
        """The number of the committed batch. Raises where somebody else wrote the offset, or a newer version."""
        if committed.proto is not None and committed.proto > PROTO:
            raise Outdated(
                f"the committed offset of partition {partition} was written by a newer version of stagepost (protocol "
                f"{committed.proto}; this one knows {PROTO}): run that version, or a later one"
            )
        if committed.seq is None and not self._rebuild:
            raise offset_moved(partition, f"at {committed.offset} it has no metadata of this version")
        return committed.seq or 0

    def plan(self, owned: Owned, records: Sequence[Record], next_offset: int, now: int | None) -> PartitionPlan | None:
        return self._processor.plan(owned.number, owned.seq + 1, records, next_offset)

    def refuse(self, owned: Owned, record: Record, why: Rejected) -> PartitionPlan:
        return self._processor.refuse(owned.number, owned.seq + 1, record, why)

    def pending(self, owned: Owned) -> bool:
        return owned.begins_late

    def begin(self, owned: Owned, attempt: Attempt) -> None:
        self._ask(lambda mirror: mirror.begin_attempt(owned.number, attempt, self._writer))
        owned.begun = True

    def end(self, owned: Owned) -> None:
        owned.begun = False
        self._ask(lambda mirror: mirror.end_attempt(owned.number, self._writer))

    def _ask(self, question: Callable[[Mirror], _T]) -> _T | None:
        """Without Redis deaths are not counted, and all else goes on."""
        if self._mirror is None or self._clock.monotonic() < self._untried_until:
            return None
        try:
            return question(self._mirror)
        except EdgeError as error:
            self._untried_until = self._clock.monotonic() + _UNTRIED_S
            self._log.info("processes that end over a batch are not counted", reason=str(error))
            return None

    def survey(self, owned: Owned) -> None:
        """No states."""

    def gauges(self, owned: Owned, clock: int | None) -> Mapping[tuple[str, ...], float]:
        return {}

    def committed(self, owned: Owned, plan: PartitionPlan, written: Written, transaction: int) -> None:
        owned.seq, owned.next_offset = plan.seq, plan.next_offset

    def refused(self) -> Collection[tuple[Owned, str]]:
        return ()

    def compare(self, owned: Owned) -> None:
        """No mirror."""

    def full(self) -> bool:
        return False

    def staleness_s(self, owned: Owned, at: float) -> float:
        return 0.0

    def released(self, owned: Owned) -> None:
        if owned.begun:
            self.end(owned)

    def not_ready(self) -> tuple[str, ...]:
        return ()

    def settled(self) -> None:
        """Nothing is kept."""

    def close(self, within_s: float) -> None:
        if self._mirror is not None:
            self._mirror.close()


class StatefulWork:
    """``Stateful``: states from validated reads of the mirror, or from what is not in it yet."""

    idles = True

    def __init__(
        self,
        processor: Stateful,
        mirror: Mirror,
        counters: Counters,
        restore: Callable[[int], Restore],
        readers: Readers,
        partitions: int,
        writer: str,
        failpoint: Callable[[str], None],
        clock: Clock = REAL,
        new_applier: NewApplier = Applier,
    ) -> None:
        self._processor = processor
        self._mirror = mirror
        self._counters = counters
        self._restore = restore
        self._readers = readers
        self._clock = clock
        self._partitions = partitions
        self._writer = writer
        self._at = failpoint
        self._under_way: dict[int, Restore] = {}
        self._applier: Applications[Owned] = new_applier(mirror, counters, clock)
        self._log = structlog.get_logger(__name__)

    def restore(self, partition: int) -> Generator[None, None, Owned]:
        restore = self._under_way[partition] = self._restore(partition)
        try:
            restored = yield from restore.steps()
        finally:
            del self._under_way[partition]
        processor, control = self._processor, restored.control
        state: Any = processor.open(partition, self._partitions, control)
        seq = 0 if control is None else control.seq
        if restored.checkpoint.seq != seq:
            raise Stop(f"partition {partition}: the mirror is at batch {restored.checkpoint.seq}, its control at {seq}")
        now = self._clock.monotonic()
        return Owned(
            number=partition,
            next_offset=restored.next_offset,
            care=after_death(restored.attempt, restored.next_offset),
            unseen=None if control is None or not processor.surveys else 0,
            seq=seq,
            broker_us=0 if control is None else restored.checkpoint.asof,
            broker_at=now,
            active_at=now,
            announcements=processor.assigned(state, restored.states) if processor.announces else (),
            state=state,
            definitions={} if control is None else control.definitions,
            checkpoint=restored.checkpoint,
            applied_seq=seq,
        )

    def plan(self, owned: Owned, records: Sequence[Record], next_offset: int, now: int | None) -> PartitionPlan | None:
        return self._plan(owned, lambda state: self._processor.read(state, records, next_offset, now), next_offset)

    def refuse(self, owned: Owned, record: Record, why: Rejected) -> PartitionPlan:
        plan = self._plan(owned, lambda state: self._processor.refuse(state, record, why), record.offset + 1)
        assert plan is not None, "a record is never passed over"
        return plan

    def _plan(self, owned: Owned, read: Callable[[Any], Any], next_offset: int) -> PartitionPlan | None:
        state: Any = owned.state
        switching, sweep = self._processor.switching, None
        if switching is not None:
            while wanted := switching.wants(state):
                self._load(owned, wanted)
            sweep = switching.sweep(state, self._mirror.slots)
        batch = read(state)
        while (timers := self._processor.unknown(state, batch)) is not None:
            batch = self._learn(owned, batch, timers)
        if switching is not None and sweep is not None and (listing := self._listing(owned, sweep)) is not None:
            batch = switching.swept(state, batch, listing)
        if batch.needs:
            self._load(owned, batch.needs)
        plan = self._processor.plan(state, batch)
        if plan is not None and (plan.seq != owned.seq + 1 or not owned.next_offset <= plan.next_offset <= next_offset):
            raise AssertionError(f"a Plan for batch {plan.seq} to {plan.next_offset} after batch {owned.seq}")
        return plan

    def _load(self, owned: Owned, keys: Collection[str]) -> None:
        try:
            self._processor.load(owned.state, self._values(owned, keys))
        except ValueError as error:
            raise unreadable(self._processor.state, owned.number, error) from error

    def _learn(self, owned: Owned, batch: Any, wanted: TimersWanted) -> Any:
        """Timers as of the newest batch: by a validated read, and what pending batches change in it."""
        found = self._validated(owned, lambda: self._mirror.timers(owned.number, wanted.after, wanted.enough))
        due, until = dict(found.due), found.until
        for plan in owned.pending:
            for key, at in plan.due.items():
                if at is not None and wanted.after < at and (until is None or at <= until):
                    due[key] = at
                else:
                    due.pop(key, None)
        return self._processor.learn(owned.state, batch, due, until)

    def pending(self, owned: Owned) -> bool:
        switching = self._processor.switching
        return owned.begins_late or (switching is not None and switching.pending(owned.state))

    def begin(self, owned: Owned, attempt: Attempt) -> None:
        self._mirror.begin_attempt(owned.number, attempt, self._writer)
        owned.begun = True

    def end(self, owned: Owned) -> None:
        owned.begun = False
        try:
            self._mirror.end_attempt(owned.number, self._writer)
        except EdgeError as error:
            # A mark that stays is believed only by who goes on at the same record.
            self._log.info("a batch that is over could not be noted", partition=owned.number, reason=str(error))

    def survey(self, owned: Owned) -> None:
        if owned.unseen is None or owned.checkpoint is None:
            return
        found = self._mirror.keys(owned.number, owned.unseen, self._mirror.piece)
        if found is None or found.nonce != owned.checkpoint.nonce or found.seq < owned.applied_seq:
            return  # the next apply, or the next look, finds out
        values = self._values(owned, found.keys)
        self._processor.survey(owned.state, values, found.next_slot is None)
        owned.unseen = found.next_slot

    def gauges(self, owned: Owned, clock: int | None) -> Mapping[tuple[str, ...], float]:
        state: Any = owned.state
        return self._processor.gauges(state, state.clock if clock is None else max(clock, state.clock))

    def committed(self, owned: Owned, plan: PartitionPlan, written: Written, transaction: int) -> None:
        placed, before = written.placed, owned.checkpoint
        assert placed is not None, "the control record was acknowledged before its transaction was committed"
        assert before is not None
        self._processor.applied(owned.state, plan)
        owned.seq, owned.next_offset = plan.seq, plan.next_offset
        if plan.definitions != owned.definitions:
            owned.definitions = plan.definitions
            self._log.info("in force", partition=owned.number, seq=plan.seq, definitions=dict(plan.definitions))
        now = self._clock.monotonic()
        if placed.timestamp is not None:
            owned.saw(placed.timestamp, now)
        then = structs.replace(
            before,
            seq=plan.seq,
            coff=placed.offset + 1,
            in_off=plan.next_offset,
            # Only the age of the mirror is judged by it, so where the broker tells no time ours will do.
            asof=placed.timestamp if placed.timestamp is not None else self._clock.wall_us(),
            control=written.control,
        )
        changes: list[StateChange] = [(key, value, plan.due.get(key)) for key, value in plan.states.items()]
        owned.checkpoint = then
        owned.pending.append(plan)
        self._at("mid_apply")
        self._applier.put(Application(owned, owned.number, before, changes, then, transaction, now, plan.told))

    def refused(self) -> Collection[tuple[Owned, str]]:
        refused: dict[int, tuple[Owned, str]] = {}
        for application, outcome in self._applier.done():
            owned = application.owner
            if application.changes is None:
                owned.comparing = False
            if outcome is Outcome.GAP:
                refused[id(owned)] = (owned, "gap")
                continue
            owned.applied_seq = max(owned.applied_seq, application.then.seq)
            while owned.pending and owned.pending[0].seq <= owned.applied_seq:
                owned.pending.popleft()
            self._at("applied")
        return refused.values()

    def compare(self, owned: Owned) -> None:
        if owned.comparing or owned.pending:
            return
        assert owned.checkpoint is not None
        owned.comparing = True
        now = self._clock.monotonic()
        self._applier.put(Application(owned, owned.number, owned.checkpoint, None, owned.checkpoint, -1, now))

    def full(self) -> bool:
        return self._applier.full()

    def staleness_s(self, owned: Owned, at: float) -> float:
        oldest = self._applier.oldest(owned.number)
        return 0.0 if oldest is None else max(0.0, at - oldest)  # it may have been queued since

    def released(self, owned: Owned) -> None:
        owned.given_up = True
        owned.state = None  # with its cache; what is queued for the mirror has all it needs
        if owned.begun:
            self.end(owned)

    def not_ready(self) -> tuple[str, ...]:
        away = not self._applier.available or any(each.mirror_away for each in list(self._under_way.values()))
        return ("Redis does not answer (setting redis.url)",) if away else ()

    def settled(self) -> None:
        self._readers.close()

    def close(self, within_s: float) -> None:
        self._applier.close(within_s)
        self._readers.close()
        self._mirror.close()

    def _values(self, owned: Owned, needs: Collection[str]) -> Mapping[str, bytes | None]:
        """States as of the newest batch: from batches that the mirror may not have yet, else by validated reads."""
        values: dict[str, bytes | None] = {}
        if owned.pending:
            for plan in owned.pending:
                values.update((key, plan.states[key]) for key in needs if key in plan.states)
        missing = [key for key in needs if key not in values]
        piece = self._mirror.piece
        for start in range(0, len(missing), piece):
            values.update(self._read(owned, missing[start : start + piece]))
        return values

    def _listing(self, owned: Owned, sweep: Sweep) -> Listing | None:
        """None while the mirror does not have the batch yet that the listing has to show."""
        assert owned.checkpoint is not None
        if sweep.since > owned.applied_seq:
            return None
        found = self._mirror.keys(owned.number, sweep.slot, self._mirror.piece)
        if found is None or found.nonce != owned.checkpoint.nonce or found.seq < owned.applied_seq:
            raise MirrorRefused(
                f"partition {owned.number}: the mirror lost what its states were listed from", "listing"
            )
        return Listing(found.keys, found.next_slot, self._mirror.slots)

    def _read(self, owned: Owned, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        return self._validated(owned, lambda: self._mirror.read(owned.number, keys)).values

    def _validated(self, owned: Owned, read: Callable[[], _S | None]) -> _S:
        """What a read saw of the mirror, if that is of a batch from which one may compute."""
        assert owned.checkpoint is not None
        began = self._clock.monotonic()
        snapshot = read()
        # A batch of several calls is half there; while batches are pending it is one of ours, over in a moment.
        while (
            snapshot is not None and snapshot.partial and owned.pending and self._clock.monotonic() < began + _BATCH_S
        ):
            self._clock.sleep(0.002)
            snapshot = read()
        self._counters.observe("state_operation_duration_seconds", self._clock.monotonic() - began, "read")
        # Any batch in this range will do: what a later one changes is in ``pending`` and was not asked for.
        if snapshot is None or snapshot.nonce != owned.checkpoint.nonce:
            raise MirrorRefused(f"partition {owned.number}: the mirror was emptied", "nonce")
        if snapshot.partial:
            raise MirrorRefused(f"partition {owned.number}: the mirror is in the middle of a batch", "partial")
        if not owned.applied_seq <= snapshot.seq <= owned.seq:
            told = f"partition {owned.number}: the mirror shows batch {snapshot.seq}, not {owned.seq}"
            raise MirrorRefused(told, "seq")
        return snapshot
