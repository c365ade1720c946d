"""The bad record is found alone, by halving, and nobody else is blamed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from stagepost.engine.attempts import (
    LIVES,
    Attempt,
    Care,
    after_commit,
    after_death,
    after_refusal,
    attempt,
    deadly,
    unfit,
)
from stagepost.events import Reason


@dataclass
class Deaths:
    """A partition whose process ends whenever it computes one of ``bad``; offsets go up in threes."""

    records: int
    bad: frozenset[int]
    batch: int
    lives: int = 0
    dead: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    left: Attempt | None = None

    def live(self, first: int) -> int:
        """One process from record ``first`` on; returns where the next one begins."""
        self.lives += 1
        care = after_death(self.left, 3 * first)
        while first < self.records:
            if care is not None and care.hopeless:
                self.dead.append(first)
                first += 1
                care = None
                continue
            some = range(first, min(self.records, first + (care.limit if care and care.limit else self.batch)))
            self.left = attempt(care, 3 * first, len(some), 3 * some[-1] + 1)
            if not self.bad.isdisjoint(some):
                return first
            self.done += some
            first = some[-1] + 1
            care = after_commit(care, 3 * some[-1] + 1)
        return first


def lived(records: int, bad: set[int], batch: int) -> Deaths:
    world, at = Deaths(records, frozenset(bad), batch), 0
    while at < records:
        at = world.live(at)
        assert world.lives < 500
    return world


@pytest.mark.parametrize("place", [0, 1, 2, 3, 5, 6, 7, 30, 63])
def test_only_the_record_that_kills_becomes_a_dead_letter(place: int) -> None:
    world = lived(64, {place}, 64)
    assert ([place], [n for n in range(64) if n != place]) == (world.dead, world.done)
    assert world.lives <= 2 * LIVES + 6


def test_of_several_that_kill_each_is_found() -> None:
    world = lived(100, {3, 4, 50, 99}, 40)
    assert ([3, 4, 50, 99], 96) == (world.dead, len(world.done))


def test_a_few_deaths_over_one_batch_change_nothing() -> None:
    begun = attempt(None, 10, 500, 600)
    for deaths in range(1, LIVES):
        care = after_death(begun, 10)
        assert care == Care(until=600, deaths=deaths)
        begun = attempt(care, 10, 500, 600)
    assert after_death(begun, 10) == Care(until=600, deaths=LIVES, limit=250)


def test_deaths_are_forgotten_when_the_batch_was_carried_out_after_all() -> None:
    assert after_death(Attempt(in_off=10, records=5, end=15, deaths=9), 15) is None
    assert after_death(None, 15) is None


def test_a_single_record_has_to_kill_alone_as_often_as_a_batch() -> None:
    begun = Attempt(in_off=10, records=2, end=12, deaths=7)
    for alone in range(LIVES):
        care = after_death(begun, 10)
        assert care is not None
        assert (care.limit, care.alone, care.hopeless) == (1, alone, False)
        begun = attempt(care, 10, 1, 11)
    care = after_death(begun, 10)
    assert care is not None
    assert care.hopeless


@pytest.mark.parametrize("bad", range(11))
def test_a_refused_record_is_found_without_any_death(bad: int) -> None:
    care, at, trials, found = None, 0, 0, []
    while at < 11:
        end = min(11, at + (care.limit if care is not None and care.limit else 11))
        trials += 1
        if not at <= bad < end:
            at, care = end, after_commit(care, end)
        elif end - at > 1:
            care = after_refusal(end - at, end)
        else:
            found.append(at)
            at, care = end, None
    assert ([bad], None) == (found, care)
    assert trials <= 10


def test_reasons_are_of_the_closed_list_and_say_what_happened() -> None:
    assert (Reason.RULE_ERROR, "computing it ended the process 3 times") == (deadly().reason, deadly().detail)
    assert (Reason.OVERSIZE, Reason.RULE_ERROR) == (unfit(too_large=True).reason, unfit(too_large=False).reason)
