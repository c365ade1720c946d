"""Brings committed batches into the mirror, in order and beside the loop: a short queue, worked off by a thread.

While Redis is away the first one is tried again and again; the queue then fills, and the loop holds its input back.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from stagepost.edges.clock import REAL, Clock
from stagepost.edges.errors import MirrorUnavailable
from stagepost.edges.mirror import apply_in_chunks
from stagepost.edges.ports import Checkpoint, Counters, Mirror, Outcome, StateChange, Told

BACKLOG = 4
"""Transactions whose batches may wait: bounds the memory, and how far the mirror may be behind."""

_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts while Redis is away; the last one repeats."""


class Owner(Protocol):
    """Of a partition. One that ``given_up`` is tried for no longer than Redis answers."""

    given_up: bool


_Owner = TypeVar("_Owner", bound=Owner)


@dataclass(frozen=True)
class Application(Generic[_Owner]):
    """One batch of one partition. ``owner`` is handed back with the result; ``changes`` None only compares."""

    owner: _Owner
    partition: int
    expected: Checkpoint
    changes: Sequence[StateChange] | None
    then: Checkpoint
    transaction: int
    queued_at: float
    told: Sequence[Told] = ()
    """Told once the batch is there; again, should the call before have failed."""


class Applications(Generic[_Owner]):
    """What waits for the mirror, and one attempt at the first of it whenever ``attempt`` is called."""

    def __init__(self, mirror: Mirror, counters: Counters, clock: Clock = REAL) -> None:
        self._mirror = mirror
        self._counters = counters
        self._clock = clock
        self._waiting: deque[Application[_Owner]] = deque()
        self._done: deque[tuple[Application[_Owner], Outcome]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._failures = 0
        self._name = uuid.uuid4().hex[:12]
        """A batch is applied by one of these and no other, so with the batch's number it names the application."""
        self.available = True
        """Whether Redis answered last time."""
        self._log = structlog.get_logger(__name__)

    def put(self, application: Application[_Owner]) -> None:
        with self._wake:
            self._waiting.append(application)
            self._wake.notify()

    def done(self) -> list[tuple[Application[_Owner], Outcome]]:
        """Results since the last call, in order."""
        found = []
        while self._done:
            found.append(self._done.popleft())
        return found

    def full(self) -> bool:
        """Whether as many transactions wait as may."""
        with self._wake:
            return len({each.transaction for each in self._waiting if each.changes is not None}) >= BACKLOG

    def oldest(self, partition: int) -> float | None:
        """When the oldest batch that the mirror does not have was queued; None when it has all."""
        with self._wake:
            batches = (each for each in self._waiting if each.partition == partition and each.changes is not None)
            return next((each.queued_at for each in batches), None)

    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def attempt(self) -> float:
        """Try the first one, if any. Returns how long to wait before the next attempt."""
        if not self._waiting:
            return 0.0
        head, began = self._waiting[0], self._clock.monotonic()
        try:
            outcome = self._once(head)
        except MirrorUnavailable as error:
            if self.available:
                self._log.warning("mirror unavailable", reason=str(error))
            self.available = False
            if self._closing or head.owner.given_up:
                self._over(head, None)
                return 0.0
            pause = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
            self._failures += 1
            return pause
        self.available = True
        if head.changes is not None:
            self._counters.observe("state_operation_duration_seconds", self._clock.monotonic() - began, "apply")
        self._over(head, outcome)
        return 0.0

    def close(self, within_s: float) -> bool:
        """Finish what is queued; returns whether all of it was."""
        until = self._clock.monotonic() + within_s
        self._closing = True
        while self._waiting and self._clock.monotonic() <= until:
            self.attempt()
        return not self._waiting

    def _over(self, head: Application[_Owner], outcome: Outcome | None) -> None:
        """Leaves the queue; without outcome it was given up."""
        self._failures = 0
        with self._wake:
            self._waiting.popleft()
            if outcome is not None:
                self._done.append((head, outcome))

    def _once(self, head: Application[_Owner]) -> Outcome:
        if head.changes is None:
            at = self._mirror.checkpoint(head.partition)
            same = at is not None and (at.seq, at.nonce, at.partial) == (head.then.seq, head.then.nonce, False)
            return Outcome.OK if same else Outcome.GAP
        # Before the batch: a story that should be gone must not outlive a process that ends in between. Once more after
        # it, in its order with the moves.
        gone = [each for each in head.told if not each[1]]
        if gone:
            self._mirror.tell(head.partition, gone)
        application = f"{self._name}/{head.then.seq}"
        outcome = apply_in_chunks(self._mirror, head.partition, head.expected, head.changes, head.then, application)
        if head.told and outcome is not Outcome.GAP:
            self._mirror.tell(head.partition, head.told)
        return outcome


class Applier(Applications[_Owner]):
    """``put`` and ``done`` are for the loop's thread; the attempts are made in another one."""

    def __init__(self, mirror: Mirror, counters: Counters, clock: Clock = REAL) -> None:
        super().__init__(mirror, counters, clock)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="applier", daemon=True)
        self._thread.start()

    def done(self) -> list[tuple[Application[_Owner], Outcome]]:
        """Results since the last call, in order. Raises what ended the thread."""
        if self._failure is not None:
            raise self._failure
        return super().done()

    def close(self, within_s: float) -> bool:
        """Finish what is queued; returns whether all of it was."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(within_s)
        return not self._waiting

    def _run(self) -> None:
        try:
            while True:
                with self._wake:
                    while not self._waiting and not self._closing:
                        self._wake.wait()
                    if not self._waiting:
                        return
                pause = self.attempt()
                if pause:
                    self._clock.sleep(pause)
        except BaseException as error:
            self._failure = error
