"""From a committed offset to a mirror that shows exactly that: the steps S2 to S6 of delivery.md 3, for one partition.

The law: a restore is done when the control record with the committed ``seq`` was read, or the mirror proves to be there
already. The end of the state topic is no end: a read_committed reader stops below committed data while any transaction
is open. Written as a generator, which yields wherever the loop has to poll.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import structlog
from msgspec import structs

from stagepost.edges.clock import REAL, Clock
from stagepost.edges.errors import (
    MirrorUnavailable,
    OffsetMoved,
    Outdated,
    PartitionsChanged,
    RestoreStuck,
    SlowDown,
    Stop,
    Unstable,
)
from stagepost.edges.mirror import apply_in_chunks
from stagepost.edges.ports import (
    PROTO,
    Bounds,
    Checkpoint,
    Committed,
    Intake,
    Log,
    Mirror,
    Outcome,
    StateChange,
    StateReader,
)
from stagepost.engine.attempts import Attempt
from stagepost.engine.plan import CONTROL_KEY, Control, Topic, decode_control

Steps = Generator[None, None, "Restored"]

_READ = 5_000
"""State records per turn: some 10 ms of reading and 100 ms of Redis, then the loop polls again."""

_T = TypeVar("_T")

_ASK_AGAIN_S = 0.5
"""Between two questions that could not be answered."""

_TELL_AGAIN_S = 10.0
"""Between two log lines about the same trouble."""

_SAME_ANSWERS = 10
"""How often a committed offset may stay behind what the state topic shows before it counts as moved by hand."""


@dataclass(frozen=True)
class Restored:
    """Where a partition goes on. ``control`` None: nothing was ever processed."""

    control: Control | None
    next_offset: int
    checkpoint: Checkpoint
    states: Mapping[str, bytes]
    """All states, if they were asked for; else empty."""
    attempt: Attempt | None
    """What a former owner was computing when it ended."""


@dataclass
class Readers:
    """One reader of the state topic for all partitions in restore: made when first needed, closed when none is left."""

    log: Log
    topic: Topic
    _reader: StateReader | None = None
    _used_by: int | None = None

    def take(self, partition: int) -> StateReader | None:
        """None while another partition has it."""
        if self._used_by not in (None, partition):
            return None
        if self._reader is None:
            self._reader = self.log.reader(self.topic)
        self._used_by = partition
        return self._reader

    def give_back(self, partition: int) -> None:
        if self._used_by == partition:
            self._used_by = None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._used_by = None, None


@dataclass(frozen=True, kw_only=True)
class RestoreSettings:
    """What is the same for all partitions of a role."""

    state: Topic
    codec: int
    partitions: int
    topic_id: str
    start_from: str | int
    rebuild: bool
    all_states: bool
    max_age_us: int
    """A mirror older than this may have missed tombstones that are gone by now: half of ``delete.retention.ms``."""
    stuck_after_s: float
    """Transaction timeout + 15 s: by then the broker has ended any transaction whose owner died."""


@dataclass
class _Standstill:
    """For how long there has been no progress, as far as we were there to see it.

    A look counts for a second at most: a process that was stopped itself comes back to an answer of long ago.
    """

    clock: Clock
    mark: int = -1
    seen_s: float = 0.0
    _looked_at: float | None = None

    def look(self, mark: int) -> float:
        """Seconds since ``mark`` grew."""
        now = self.clock.monotonic()
        if mark > self.mark:
            self.mark, self.seen_s = mark, 0.0
        elif self._looked_at is not None:
            self.seen_s += min(now - self._looked_at, 1.0)
        self._looked_at = now
        return self.seen_s


@dataclass
class Restore:
    """One partition after its assignment. ``steps`` is run by the loop until it returns."""

    partition: int
    settings: RestoreSettings
    log: Log
    intake: Intake
    mirror: Mirror
    readers: Readers
    due_of: Callable[[bytes], int | None]
    new_nonce: Callable[[], str]
    failpoint: Callable[[str], None]
    forgets: Callable[[bytes], bool] = lambda value: False
    """Whether a state stands for somebody of whom no story may be kept."""
    clock: Clock = REAL
    """By its wall time the age of a mirror is judged: one that is ahead costs a rebuild."""
    mirror_away: bool = False
    """Whether it waits for Redis."""
    _log: Any = field(default_factory=lambda: structlog.get_logger(__name__))

    def steps(self) -> Steps:
        """Raises Stop and its kinds; waits for as long as Redis is away or the offset undecided."""
        try:
            return (yield from self._steps())
        finally:
            self.readers.give_back(self.partition)

    def _steps(self) -> Steps:
        behind, told = 0, -_TELL_AGAIN_S
        while True:
            committed = yield from self._committed()
            self.failpoint("restore_committed")
            try:
                self.mirror.check()
                done = yield from self._bring_to(self._target(committed))
                self.mirror_away = False
                if done is not None:
                    return (yield from self._finish(committed, done))
                behind += 1
                if behind > _SAME_ANSWERS:
                    raise self._moved("the state topic shows other batches")
            except SlowDown as error:
                self.mirror_away = isinstance(error, MirrorUnavailable)
                if self.clock.monotonic() > told + _TELL_AGAIN_S:
                    told = self.clock.monotonic()
                    self._log.warning("restore waits", partition=self.partition, reason=str(error))
            self.readers.give_back(self.partition)
            yield from _wait(_ASK_AGAIN_S, self.clock)

    def _target(self, committed: Committed | None) -> int | None:
        """The batch to restore; None for the newest there is."""
        if committed is None or self.settings.rebuild:
            return None
        if committed.proto is not None and committed.proto > PROTO:
            raise self._newer(f"protocol {committed.proto}", f"protocol {PROTO}")
        if committed.seq is None or committed.proto != PROTO:
            raise self._moved(f"at {committed.offset} it has no metadata of this version")
        return committed.seq

    def _committed(self) -> Generator[None, None, Committed | None]:
        """S2. Before any question for an end: what was undecided then is decided now."""
        return (
            yield from once_decided(
                lambda: self.intake.committed(self.partition, 1.0),
                self.partition,
                self.settings.stuck_after_s,
                self.clock,
                self._log,
            )
        )

    def _bring_to(self, target: int | None) -> Generator[None, None, Checkpoint | None]:
        """S3, S4: the mirror at batch ``target``, at the newest one with None. None: ask for the target again."""
        bounds = self._bounds()
        at = self._usable(self.mirror.checkpoint(self.partition), bounds)
        if at is not None and at.partial and target in (None, at.seq):
            at = None  # newer states, and perhaps nothing in the log that could finish them
        if at is not None and target is not None and at.seq > target:
            # Ahead of the committed offset: more was committed since we asked, or Kafka went back.
            if (yield from self._newest_in_log(at, bounds)) >= at.seq:
                return None
            self._log.error("mirror ahead of the log: Kafka lost committed data", partition=self.partition, seq=at.seq)
            at = None
        if at is None:
            yield  # one more poll: a wipe by a former owner would throw away the new one's work
            at = self._fresh(bounds)
            self.mirror.wipe(self.partition, at)
            self._log.info("mirror is built from the state topic", partition=self.partition)
        if at.seq == target or (target is None and at.coff >= bounds.high):
            return at
        return (yield from self._replay(at, target, bounds))

    def _usable(self, at: Checkpoint | None, bounds: Bounds) -> Checkpoint | None:
        settings = self.settings
        if at is None:
            return None
        if at.topic_id == settings.topic_id:
            self._readable(at.codec, at.proto)
        same = (at.topic_id, at.codec, at.proto) == (settings.topic_id, settings.codec, PROTO)
        if same:
            refuse_other_count(at.partitions, settings.partitions)
        # An empty one has no age. One that is partial has states, of an age that its number 0 does not tell.
        fresh = not at.partial if at.seq == 0 else self.clock.wall_us() - at.asof < settings.max_age_us
        return at if same and fresh and bounds.low <= at.coff <= bounds.high else None

    def _fresh(self, bounds: Bounds) -> Checkpoint:
        settings = self.settings
        return Checkpoint(
            seq=0,
            coff=bounds.low,
            in_off=0,
            topic_id=settings.topic_id,
            nonce=self.new_nonce(),
            asof=0,
            codec=settings.codec,
            partitions=settings.partitions,
        )

    def _replay(self, at: Checkpoint, target: int | None, bounds: Bounds) -> Generator[None, None, Checkpoint | None]:
        """Read from ``at.coff`` and write what is read, batch number by batch number, until ``target`` was read."""
        reader = yield from self._reader(at.coff)
        reached = at  # the last control record that was read
        whole: dict[str, bytes | None] = {}  # states up to it
        tail: dict[str, bytes | None] = {}  # states of the batch after it
        standstill = _Standstill(self.clock)
        as_of = at.asof if at.seq else self.clock.wall_us()
        while not self._is_done(reached, target, reader, bounds):
            records = reader.read(_READ, 0.1)
            for record in records:
                if record.key != CONTROL_KEY:
                    tail[record.key.decode()] = record.value
                    continue
                control = decode_control(record.value or b"")
                self._readable(control.codec, control.proto)
                if target is not None and control.seq > target:
                    return None
                whole.update(tail)
                tail.clear()
                reached = structs.replace(
                    at,
                    seq=control.seq,
                    coff=record.offset + 1,
                    in_off=control.in_off,
                    asof=record.timestamp,
                    control=record.value,
                    partial=False,
                    step="",
                )
                if control.seq == target:
                    break
            if standstill.look(reader.position()) > self.settings.stuck_after_s:
                raise self._stuck(target)
            if len(whole) + len(tail) >= self.mirror.piece and not self._is_done(reached, target, reader, bounds):
                # A batch behind ``reached`` may be among these: values are absolute, and ``partial`` keeps readers out.
                step = structs.replace(reached, partial=True, asof=at.asof, step=self.new_nonce())
                if not self._write(at, {**whole, **tail}, step):
                    return None
                whole.clear()
                tail.clear()
                at = step
            self.failpoint("restore_mid")
            yield
        # What follows the last control record belongs to no committed batch; only a broker without isolation shows it.
        done = structs.replace(reached, partial=False, step="")
        # A process that stood still in between may have come too late for tombstones: then all of it is read anew.
        if self.clock.wall_us() - as_of >= self.settings.max_age_us or not self._write(at, whole, done):
            return None
        self.readers.give_back(self.partition)
        return done

    def _is_done(self, reached: Checkpoint, target: int | None, reader: StateReader, bounds: Bounds) -> bool:
        if target is not None:
            return reached.seq == target
        return reader.position() >= bounds.high

    def _write(self, at: Checkpoint, states: Mapping[str, bytes | None], then: Checkpoint) -> bool:
        changes = _Changes(list(states.items()), self.due_of)
        try:
            # First: should this process end in between, whoever restores next comes by here again.
            gone = [(key, b"") for key, value in states.items() if value is not None and self.forgets(value)]
            if gone:
                self.mirror.tell(self.partition, gone)
            outcome = apply_in_chunks(self.mirror, self.partition, at, changes, then, self.new_nonce())
            return outcome is Outcome.OK
        except ValueError as error:
            raise unreadable(self.settings.state, self.partition, error) from error

    def _newest_in_log(self, at: Checkpoint, bounds: Bounds) -> Generator[None, None, int]:
        """The largest batch number that the state topic shows below its decided end. Reads all of it: a rare alarm."""
        reader = yield from self._reader(bounds.low)
        newest, standstill = 0, _Standstill(self.clock)
        while reader.position() < bounds.high and newest < at.seq:
            records = reader.read(_READ, 0.1)
            for record in records:
                if record.key == CONTROL_KEY:
                    newest = max(newest, decode_control(record.value or b"").seq)
            if standstill.look(reader.position()) > self.settings.stuck_after_s:
                raise self._stuck(at.seq)
            yield
        self.readers.give_back(self.partition)
        return newest

    def _reader(self, offset: int) -> Generator[None, None, StateReader]:
        while True:
            reader = self.readers.take(self.partition)
            if reader is not None:
                reader.seek(self.partition, offset)
                return reader
            yield

    def _finish(self, committed: Committed | None, at: Checkpoint) -> Steps:
        """S6."""
        control = decode_control(at.control) if at.control else None
        if control is not None and control.partitions:
            refuse_other_count(control.partitions, self.settings.partitions)
        if committed is None:
            if control is None:
                next_offset = self.intake.first_offset(self.partition, self.settings.start_from)
            else:
                next_offset = control.in_off
                self._log.warning(
                    "no committed offset; going on from the control record",
                    partition=self.partition,
                    offset=next_offset,
                    seq=control.seq,
                )
        else:
            next_offset = committed.offset
            if control is None or control.in_off != committed.offset:
                if not self.settings.rebuild:
                    ends = "there is none" if control is None else f"it ends at {control.in_off}"
                    raise self._moved(f"it is {committed.offset}, but by the state {ends}")
                self._log.warning(
                    "going on from an offset that was moved", partition=self.partition, offset=next_offset
                )
        states = self._all_states(at) if self.settings.all_states else {}
        attempt = self.mirror.attempt(self.partition)
        self.failpoint("restore_done")
        yield
        return Restored(control, next_offset, at, states, attempt)

    def _all_states(self, at: Checkpoint) -> Mapping[str, bytes]:
        states = self.mirror.states(self.partition)
        now = self.mirror.checkpoint(self.partition)
        if now is None or (now.seq, now.nonce) != (at.seq, at.nonce):
            raise SlowDown("the mirror changed while it was read")
        return states

    def _bounds(self) -> Bounds:
        try:
            return self.log.bounds(self.settings.state, self.partition)
        except Unstable as error:
            raise SlowDown(str(error)) from error

    def _readable(self, codec: int, proto: int) -> None:
        """An older worker leaves a newer partition as it is."""
        if codec > self.settings.codec or proto > PROTO:
            raise self._newer(
                f"codec {codec}, protocol {proto}", f"codec {self.settings.codec}, protocol {PROTO} and before"
            )

    def _newer(self, found: str, known: str) -> Stop:
        return Outdated(
            f"partition {self.partition} of {self.settings.state} was written by a newer version of stagepost "
            f"({found}; this one knows {known}): run that version, or a later one"
        )

    def _moved(self, why: str) -> Stop:
        return offset_moved(self.partition, why)

    def _stuck(self, target: int | None) -> Stop:
        bounds = self._bounds()
        wanted = "its end" if target is None else f"batch {target}"
        cause = (
            f"a transaction has been open since offset {bounds.stable} (end {bounds.high}): see kafka-transactions.sh"
            if bounds.stable < bounds.high
            else f"it ends at {bounds.high} without it: Kafka lost committed data"
        )
        return RestoreStuck(f"{self.settings.state}[{self.partition}] cannot be read to {wanted}: {cause}")


def once_decided(
    ask: Callable[[], _T], partition: int, stuck_after_s: float, clock: Clock, log: Any
) -> Generator[None, None, _T]:
    """What ``ask`` says of a committed offset once no open transaction hides it. Raises RestoreStuck where one goes on
    for longer than any whose owner died."""
    standstill = _Standstill(clock)
    while True:
        try:
            return ask()
        except Unstable as error:
            waited = standstill.look(0)
            log.info("committed offset undecided", partition=partition, duration_s=round(waited, 1))
            if waited > 2 * stuck_after_s:
                raise RestoreStuck(f"the committed offset of partition {partition} stays undecided: {error}") from error
            yield from _wait(_ASK_AGAIN_S, clock)


def _wait(seconds: float, clock: Clock) -> Generator[None, None, None]:
    """At least one turn of the loop."""
    until = clock.monotonic() + seconds
    yield
    while clock.monotonic() < until:
        yield


def refuse_other_count(written_for: int, partitions: int) -> None:
    """Raises PartitionsChanged where a state was written for another number of partitions than the input has."""
    if written_for != partitions:
        raise PartitionsChanged(
            f"the state was written for {written_for} partitions, the input has {partitions}; "
            "contacts would be looked for in the wrong one: use stagepost repartition"
        )


def unreadable(state: str, partition: int, error: ValueError) -> Stop:
    """No event's fault: none may be set aside over it, however often the worker is started."""
    return Outdated(
        f"{state}[{partition}] holds a state that this version of stagepost cannot read: {error}; "
        "run the version that wrote it, or a later one"
    )


def offset_moved(partition: int, why: str) -> Stop:
    return OffsetMoved(
        f"the committed offset of partition {partition} was moved: {why}. "
        "Put it back, or run once with --rebuild to process from there on the state as it is"
    )


class _Changes(Sequence[StateChange]):
    """States with their timers, each read out of its state when its chunk is sent: meanwhile the mirror works."""

    def __init__(self, states: Sequence[tuple[str, bytes | None]], due_of: Callable[[bytes], int | None]) -> None:
        self._states = states
        self._due_of = due_of

    def __len__(self) -> int:
        return len(self._states)

    @overload
    def __getitem__(self, at: int) -> StateChange: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[StateChange]: ...

    def __getitem__(self, at: int | slice) -> StateChange | Sequence[StateChange]:
        if isinstance(at, slice):
            return [self._change(*state) for state in self._states[at]]
        return self._change(*self._states[at])

    def _change(self, key: str, value: bytes | None) -> StateChange:
        return key, value, None if value is None else self._due_of(value)
