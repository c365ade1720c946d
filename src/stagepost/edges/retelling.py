"""Rebuilds the view of contacts' last moves from ``journey.transitions``, beside the loop, once a mirror was lost.

Every mirror has a name (its ``nonce``). Beside the stories lies a mark: under which name they were told again, and
down to which offset of each partition of ``journey.transitions``. A mark under another name, or none, means that
they may be missing. The topic is read from its present end backwards, one bounded piece at a time: the newest moves are
there first, a piece told twice adds nothing, and whoever takes the partition over goes on where the mark stands. Moves
that are made meanwhile are told as always.

The law: nothing waits for this. An erased contact is told of neither before nor after a piece: the states are looked at
before it, and again after it, because an erasure may come in between.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from confluent_kafka import KafkaException
from msgspec import Struct

from stagepost.edges.errors import SlowDown, Stop, Unstable
from stagepost.edges.ports import Checkpoint, Log, Mirror, StateReader, StateRecord
from stagepost.engine.plan import Topic
from stagepost.engine.story import may_be_told, pack_told, told_of
from stagepost.events import Transition, murmur2_partition

PIECE = 2_000
"""Records at a time: some 30 ms of reading, and what of them is in memory."""

_REST = 4.0
"""Rest after a piece, in times of what it took: the loop keeps four fifths of the processor at least."""

_AGAIN_S = 5.0
"""After a broker or a Redis that did not answer."""

_SILENT_S = 10.0
"""Without a record and without the end of a piece: the broker is away, or does not say so."""

_READ_S = 0.2


class Mark(Struct, frozen=True, array_like=True):
    """How far the moves of one partition were told again."""

    nonce: str
    ends: dict[int, int]
    """By partition of ``journey.transitions``: from this offset on all is told."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Mark).decode
_transition = msgspec.json.Decoder(Transition).decode


@dataclass(eq=False)
class _Job:
    """One partition of the input, of which the moves are to be told again."""

    partition: int
    partitions: int
    """Of the input: a contact's partition there differs from the one where its moves lie."""
    nonce: str
    ends: dict[int, int] | None = None
    """None: where it stands is yet to be looked up."""


class Retelling:
    """``want`` and ``close`` are for the loop's thread; the work is done in another one, begun with the first wish."""

    def __init__(self, new_log: Callable[[], Log], mirror: Mirror, topic: Topic = Topic.TRANSITIONS) -> None:
        """``new_log``: a log for the thread alone, made when there is something to read."""
        self._new_log = new_log
        self._mirror = mirror
        self._topic = topic
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()
        """Of the list of jobs."""
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._opened: tuple[Log, StateReader] | None = None
        self._log = structlog.get_logger(__name__)

    def want(self, partition: int, at: Checkpoint) -> None:
        """The partition was restored: its contacts' moves are to be there. Raises what ended the thread."""
        if self._failure is not None:
            raise self._failure
        self.add(partition, at)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="retelling", daemon=True)
            self._thread.start()
        self._wake.set()

    def add(self, partition: int, at: Checkpoint) -> None:
        """A wish, for who calls ``turn``; it stands in for older ones of the partition."""
        with self._lock:
            others = [job for job in self._jobs if job.partition != partition]
            self._jobs = deque([*others, _Job(partition, at.partitions, at.nonce)])

    def turn(self) -> bool:
        """One piece of the first wish; whether there is more to do. Raises SlowDown or Stop."""
        with self._lock:
            job = self._jobs[0] if self._jobs else None
        done = job is None or self._done(job)
        with self._lock:
            if done and self._jobs and self._jobs[0] is job:
                self._jobs.popleft()
            return bool(self._jobs)

    def close(self) -> None:
        """Stops after the piece at hand; what is left is told by the next owner."""
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                began = time.monotonic()
                try:
                    more = self.turn()
                except SlowDown as error:
                    self._log.info("moves are told again later", reason=str(error))
                    self._closing.wait(_AGAIN_S)
                    continue
                except Stop as error:
                    # A topic that is gone: the view stays as it is, and the next assignment looks again.
                    self._log.warning("moves cannot be told again", reason=str(error))
                    with self._lock:
                        self._jobs.clear()
                    more = False
                if more:
                    self._closing.wait(_REST * (time.monotonic() - began))
                else:
                    self._let_go()
                    self._wake.wait()
                    self._wake.clear()
        except BaseException as error:
            self._failure = error
            self._log.exception("telling moves again failed")
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _done(self, job: _Job) -> bool:
        """Whether nothing is left of a job after one more piece of it."""
        if job.ends is None:
            stored = self._stored(job)
            if stored is not None and not any(stored.values()):
                return True
            log, _ = self._open()
            job.ends = stored if stored is not None else self._present_ends(job, log)
        log, reader = self._open()
        for place, end in job.ends.items():
            low = log.bounds(self._topic, place).low if end else 0
            if end <= low:
                job.ends[place] = 0
                continue
            start = max(low, end - PIECE)
            moves = self._moves(job, self._read(reader, place, start, end))
            ends = {**job.ends, place: start}
            if not self._tell(job, moves, ends):
                return True  # the mirror is another one by now, and who restores it wishes anew
            job.ends = ends
            return False
        self._mirror.retell(job.partition, job.nonce, (), _encode(Mark(job.nonce, job.ends)))
        self._log.info("moves are told again", partition=job.partition)
        return True

    def _open(self) -> tuple[Log, StateReader]:
        if self._opened is None:
            log = self._new_log()
            self._opened = log, log.reader(self._topic)
        return self._opened

    def _stored(self, job: _Job) -> dict[int, int] | None:
        data = self._mirror.retold(job.partition)
        if data is None:
            return None
        try:
            mark = _decode(data)
        except msgspec.DecodeError:
            return None
        return mark.ends if mark.nonce == job.nonce else None

    def _present_ends(self, job: _Job, log: Log) -> dict[int, int]:
        """Ends of the partitions in which moves of the job's contacts can lie: equal modulo the common divisor."""
        count = log.partitions([self._topic])[self._topic]
        common = math.gcd(count, job.partitions)
        places = [place for place in range(count) if place % common == job.partition % common]
        return {place: log.bounds(self._topic, place).stable for place in places}

    def _read(self, reader: StateReader, place: int, start: int, end: int) -> list[StateRecord]:
        reader.seek(place, start)
        found: list[StateRecord] = []
        heard = time.monotonic()
        while reader.position() < end:
            try:
                records = reader.read(PIECE, _READ_S)
            except KafkaException as error:
                # Most likely retention took the beginning of the piece away: the ends are asked for again.
                raise Unstable(f"{self._topic}[{place}] from offset {start} on: {error}") from error
            found += records
            if records:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_S or self._closing.is_set():
                raise Unstable(f"{self._topic}[{place}] cannot be read to offset {end}")
        return [record for record in found if record.offset < end]

    def _moves(self, job: _Job, records: Sequence[StateRecord]) -> list[tuple[str, bytes]]:
        """Contact and packed move, the newest first."""
        moves = []
        for record in reversed(records):
            if murmur2_partition(record.key, job.partitions) != job.partition:
                continue
            try:
                move = _transition(record.value or b"")
            except msgspec.DecodeError:
                continue  # somebody else's record
            moves.append((move.contact, pack_told(told_of(move))))
        return moves

    def _tell(self, job: _Job, moves: Sequence[tuple[str, bytes]], ends: dict[int, int]) -> bool:
        """Whether the mirror still is the one that the job is about."""
        mark = _encode(Mark(job.nonce, ends))
        alive = self._alive(job, {contact for contact, _ in moves})
        if alive is None:
            return False
        if not self._mirror.retell(job.partition, job.nonce, [pair for pair in moves if pair[0] in alive], mark):
            return False
        left = self._alive(job, alive)
        if left is None:
            return False
        if alive - left:
            self._mirror.tell(job.partition, [(contact, b"") for contact in sorted(alive - left)])
        return True

    def _alive(self, job: _Job, contacts: set[str]) -> set[str] | None:
        """Those of whom something may be told; None when the mirror is not the job's any more."""
        asked, alive = sorted(contacts), set()
        for start in range(0, len(asked), self._mirror.piece):
            snapshot = self._mirror.read(job.partition, asked[start : start + self._mirror.piece])
            if snapshot is None or snapshot.nonce != job.nonce:
                return None
            alive |= {contact for contact, value in snapshot.values.items() if may_be_told(value)}
        return alive
