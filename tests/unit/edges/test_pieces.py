"""Pieces of a verb: when one has a producer of its own."""

from __future__ import annotations

from typing import Any

import pytest

from stagepost.edges.errors import Retry
from stagepost.edges.pieces import Pieces
from stagepost.engine.plan import Emit, Topic

EMIT = Emit(Topic.STATE, b"k", b"v")


class Producer:
    """Notes what is asked of it; ``commit`` takes so long by the clock of the test."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[str] = []

    def init(self, timeout_s: float) -> None:
        self.asked.append("init")

    def begin(self) -> None:
        self.asked.append("begin")

    def send(self, emit: Emit) -> None:
        self.asked.append("send")

    def flush(self, timeout_s: float) -> None:
        self.asked.append("flush")

    def commit(self, timeout_s: float) -> None:
        self.asked.append("commit")
        self.world.now += self.world.commit_s
        if self.world.error is not None:
            raise self.world.error

    def disturbed(self) -> bool:
        return self.world.disturbed

    def discard(self) -> None:
        self.asked.append("discard")


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.commit_s = 0.001
        self.disturbed = False
        self.error: Exception | None = None
        self.made: list[Producer] = []
        self.pieces = Pieces(self.new, 30.0, clock=lambda: self.now)

    def new(self) -> Any:
        self.made.append(Producer(self))
        return self.made[-1]


@pytest.fixture
def world() -> World:
    return World()


def test_pieces_that_end_at_once_share_a_producer(world: World) -> None:
    for _ in range(3):
        world.pieces.carry([EMIT], lambda producer: world.made[-1].asked.append("last"))
    [producer] = world.made
    assert producer.asked == ["init", *["begin", "send", "flush", "last", "commit"] * 3]
    world.pieces.close()
    assert producer.asked[-1] == "discard"


@pytest.mark.parametrize("harm", ["slow", "disturbed"])
def test_after_an_end_of_which_a_copy_may_be_under_way_the_next_piece_has_another(world: World, harm: str) -> None:
    world.commit_s, world.disturbed = (0.2, False) if harm == "slow" else (0.001, True)
    world.pieces.carry([EMIT])
    world.commit_s, world.disturbed = 0.001, False
    world.pieces.carry([EMIT])
    world.pieces.carry([EMIT])
    assert [producer.asked[0] for producer in world.made] == ["init", "init"]
    assert world.made[0].asked[-1] == "discard"


def test_what_fails_is_told_and_nothing_follows(world: World) -> None:
    world.error = Retry("not now")
    with pytest.raises(Retry):
        world.pieces.carry([EMIT])
    assert world.made[0].asked[-1] == "commit"
