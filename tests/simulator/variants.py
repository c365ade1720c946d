"""Workers that break one rule of the protocol each. A simulator that does not find them out proves nothing.

Each is a small subclass of the real part, put in its place in a runner that has been opened.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from stagepost.edges.ports import Bounds, Checkpoint, Committed, Membership, StateReader
from stagepost.edges.restore import Restore, Restored
from stagepost.edges.runner import Runner
from stagepost.edges.transactions import ATTEMPTS, Transactions, Written
from stagepost.edges.work import Owned, StatefulWork
from stagepost.engine.plan import CONTROL_KEY, PartitionPlan, TimersWanted, decode_control, encode_control


@dataclass(frozen=True)
class Variant:
    """``breaks`` is given the opened runner. ``within`` schedules it must be caught."""

    name: str
    breaks: Callable[[Runner], None]
    within: int = 0
    first: int = 0
    """The seed to begin with: where a rule is seldom needed, schedules before it show nothing."""


def _restores_by(kind: type[Restore]) -> Callable[[Runner], None]:
    def breaks(runner: Runner) -> None:
        work = runner._work
        assert isinstance(work, StatefulWork)
        real = work._restore
        work._restore = lambda partition: kind(**vars(real(partition)))

    return breaks


class _ToTheEnd(Restore):
    """Takes the end that a reader is shown for the end, and the committed offset on trust."""

    def _is_done(self, reached: Checkpoint, target: int | None, reader: StateReader, bounds: Bounds) -> bool:
        return reader.position() >= bounds.stable

    def _finish(self, committed: Committed | None, at: Checkpoint) -> Generator[None, None, Restored]:
        trusting = replace(self, settings=replace(self.settings, rebuild=True))
        return (yield from Restore._finish(trusting, committed, at))


class _SkipsNewer(Restore):
    """Reads up to the end, and leaves out what is newer than the batch that it looks for."""

    _found: Committed | None = None

    def _target(self, committed: Committed | None) -> int | None:
        self._found = committed
        return super()._target(committed)

    def _replay(self, at: Checkpoint, target: int | None, bounds: Bounds) -> Generator[None, None, Checkpoint | None]:
        found = self._found
        if target is None or found is None:
            return (yield from super()._replay(at, target, bounds))
        reader = yield from self._reader(at.coff)
        whole: dict[str, bytes | None] = {}
        tail: dict[str, bytes | None] = {}
        reached, control = at.coff, at.control
        while reader.position() < bounds.stable:
            for record in reader.read(5000, 0.1):
                if record.key != CONTROL_KEY:
                    tail[record.key.decode()] = record.value
                    continue
                if decode_control(record.value or b"").seq <= target:
                    whole.update(tail)
                    reached, control = record.offset + 1, record.value or b""
                tail.clear()
            yield
        if not control:
            return None
        patched = encode_control(structs.replace(decode_control(control), seq=target, in_off=found.offset))
        then = structs.replace(
            at, seq=target, coff=reached, in_off=found.offset, asof=self.clock.wall_us(), control=patched, partial=False
        )
        if not self._write(at, whole, then):
            return None
        self.readers.give_back(self.partition)
        return then


class _AnyAge(Restore):
    """Believes a mirror that may have missed tombstones which are gone by now."""

    def _usable(self, at: Checkpoint | None, bounds: Bounds) -> Checkpoint | None:
        return Restore._usable(replace(self, settings=replace(self.settings, max_age_us=1 << 62)), at, bounds)


class _BelievesReads(StatefulWork):
    """Computes from whatever the mirror has."""

    def _read(self, owned: Owned, keys: Sequence[str]) -> Mapping[str, bytes | None]:
        snapshot = self._mirror.read(owned.number, keys)
        return dict.fromkeys(keys) if snapshot is None else snapshot.values


class _ForgetsPending(StatefulWork):
    """Takes the timers of a mirror that is on its way for the newest ones."""

    def _learn(self, owned: Owned, batch: Any, wanted: TimersWanted) -> Any:
        found = self._validated(owned, lambda: self._mirror.timers(owned.number, wanted.after, wanted.enough))
        return self._processor.learn(owned.state, batch, found.due, found.until)


def _works_by(kind: type[StatefulWork]) -> Callable[[Runner], None]:
    def breaks(runner: Runner) -> None:
        assert isinstance(runner._work, StatefulWork)
        runner._work.__class__ = kind

    return breaks


class _KeepsProducer(Transactions):
    """Goes on with a producer whose last request to end a transaction took long."""

    def _ready(self) -> Any:
        if self._replace_because in ("slow_commit", "slow_abort"):
            self._replace_because = None
        return super()._ready()


def _keeps_producer(runner: Runner) -> None:
    runner._transactions.__class__ = _KeepsProducer


def _refreshes_membership(runner: Runner) -> None:
    """Asks who it is in the group when it commits, rather than before it computes."""
    intake = runner._intake

    class Refreshes(Transactions):
        def carry_out(
            self, plans: Sequence[PartitionPlan], member: Membership, attempts: int = ATTEMPTS
        ) -> Mapping[int, Written]:
            intake.poll(0, 0.0)  # as a client does which polls in the background
            return super().carry_out(plans, intake.membership(), attempts)

    runner._transactions.__class__ = Refreshes


REAL = Variant("real", lambda runner: None)

VARIANTS = {
    variant.name: variant
    for variant in (
        REAL,
        Variant("replay to EOF", _restores_by(_ToTheEnd), 2000),
        Variant("unvalidated reads", _works_by(_BelievesReads), 500),
        Variant("timers without pending batches", _works_by(_ForgetsPending), 500),
        Variant("refreshed metadata", _refreshes_membership, 2000),
        Variant("kept producer after a slow commit", _keeps_producer, 1000, first=3500),
        Variant("skipping newer records in a restore", _restores_by(_SkipsNewer), 2000),
        Variant("no age check", _restores_by(_AnyAge), 2500, first=2000),
    )
}
