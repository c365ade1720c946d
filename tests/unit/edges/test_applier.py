from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from stagepost.edges import applier as module
from stagepost.edges.applier import BACKLOG, Application, Applications, Applier
from stagepost.edges.errors import MirrorUnavailable
from stagepost.edges.memory import MemoryMirror
from stagepost.edges.ports import ALONE, Checkpoint, NoCounters, Outcome, Part, StateChange


@dataclass(eq=False)
class Owner:
    given_up: bool = False


class AwayMirror(MemoryMirror):
    """Unavailable until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.back = threading.Event()

    def apply(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part = ALONE
    ) -> Outcome:
        if not self.back.is_set():
            raise MirrorUnavailable("away")
        return super().apply(partition, expected, changes, then, part)


def at(seq: int) -> Checkpoint:
    return Checkpoint(seq=seq, coff=seq, in_off=seq, topic_id="t", nonce="n", asof=0, codec=1, partitions=1)


def batch(owner: Owner, seq: int, changes: Sequence[StateChange] | None = ()) -> Application[Owner]:
    before = at(seq) if changes is None else at(seq - 1)
    return Application(owner, 0, before, changes, at(seq), seq, time.monotonic())


def results(applier: Applier[Owner], count: int) -> list[tuple[int, Outcome]]:
    found: list[tuple[int, Outcome]] = []
    deadline = time.monotonic() + 5
    while len(found) < count:
        assert time.monotonic() < deadline
        found += [(application.then.seq, outcome) for application, outcome in applier.done()]
        time.sleep(0.001)
    return found


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> AwayMirror:
    monkeypatch.setattr(module, "_PAUSES_S", (0.001,))
    mirror = AwayMirror()
    mirror.wipe(0, at(0))
    return mirror


def test_batches_arrive_in_order_and_a_lost_mirror_is_told() -> None:
    mirror, owner = MemoryMirror(), Owner()
    mirror.wipe(0, at(0))
    applier: Applier[Owner] = Applier(mirror, NoCounters())
    for seq in (1, 2):
        applier.put(batch(owner, seq, [("a", b"%d" % seq, None)]))
    assert results(applier, 2) == [(1, Outcome.OK), (2, Outcome.OK)]
    applier.put(batch(owner, 2, None))
    assert results(applier, 1) == [(2, Outcome.OK)]
    mirror.flush()
    applier.put(batch(owner, 2, None))
    applier.put(batch(owner, 3))
    assert results(applier, 2) == [(2, Outcome.GAP), (3, Outcome.GAP)]
    assert applier.close(5)


def test_while_redis_is_away_batches_wait_and_the_loop_is_told_to_hold_back(away: AwayMirror) -> None:
    owner = Owner()
    applier: Applier[Owner] = Applier(away, NoCounters())
    for seq in range(1, BACKLOG + 1):
        assert not applier.full()
        applier.put(batch(owner, seq))
    assert applier.full()
    assert applier.oldest(0) is not None
    assert applier.oldest(1) is None
    deadline = time.monotonic() + 5
    while applier.available:
        assert time.monotonic() < deadline
    away.back.set()
    assert results(applier, BACKLOG) == [(seq, Outcome.OK) for seq in range(1, BACKLOG + 1)]
    assert applier.available
    assert not applier.full()
    assert applier.close(5)


def test_batches_of_a_partition_that_was_given_up_do_not_hold_up_the_others(away: AwayMirror) -> None:
    gone, here = Owner(), Owner()
    applier: Applier[Owner] = Applier(away, NoCounters())
    applier.put(batch(gone, 1))
    applier.put(batch(here, 1))
    gone.given_up = True
    time.sleep(0.05)
    away.back.set()
    assert results(applier, 1) == [(1, Outcome.OK)]
    assert applier.close(5)


def test_closing_does_not_wait_for_a_redis_that_is_away(away: AwayMirror) -> None:
    applier: Applier[Owner] = Applier(away, NoCounters())
    applier.put(batch(Owner(), 1))
    began = time.monotonic()
    applier.close(5)
    assert time.monotonic() - began < 2


def test_what_nobody_foresaw_is_raised_in_the_loop() -> None:
    class Broken(MemoryMirror):
        def checkpoint(self, partition: int) -> Checkpoint | None:
            raise RuntimeError("unforeseen")

    applier: Applier[Owner] = Applier(Broken(), NoCounters())
    applier.put(batch(Owner(), 1, None))
    with pytest.raises(RuntimeError, match="unforeseen"):
        results(applier, 1)


def test_without_a_thread_each_attempt_tries_the_first_one_and_tells_how_long_to_wait(away: AwayMirror) -> None:
    played: Applications[Owner] = Applications(away, NoCounters())
    assert played.attempt() == 0.0
    for seq in (1, 2):
        played.put(batch(Owner(), seq))
    assert (played.attempt(), played.available, played.full()) == (0.001, False, False)
    away.back.set()
    assert (played.attempt(), played.available, played.idle()) == (0.0, True, False)
    assert played.close(5)
    assert [(application.then.seq, outcome) for application, outcome in played.done()] == [
        (1, Outcome.OK),
        (2, Outcome.OK),
    ]


class EndingMirror(MemoryMirror):
    """The process ends within the call that applies a batch."""

    def apply(
        self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint, part: Part = ALONE
    ) -> Outcome:
        raise SystemExit


def test_a_story_is_forgotten_before_the_batch_that_erases_it_is_in_the_mirror() -> None:
    mirror = EndingMirror()
    mirror.wipe(0, at(0))
    mirror.tell(0, [("a", b"a move"), ("b", b"a move")])
    applier: Applier[Owner] = Applier(mirror, NoCounters())
    applier.put(Application(Owner(), 0, at(0), (), at(1), 1, 0.0, [("a", b""), ("b", b"another")]))
    applier._thread.join(5)
    assert (list(mirror.story(0, "a")), list(mirror.story(0, "b"))) == ([], [b"a move"])
