"""A contact that moves unusually often is noticed once a minute, however its moves were batched."""

from __future__ import annotations

import pytest

from stagepost.engine.hot_contacts import HotContacts
from stagepost.events import MINUTE

NOON = 20_000 * 24 * 60 * MINUTE


def told(hot: HotContacts, moves: list[tuple[str, int]], batch: int) -> int:
    """Take the moves in batches; how often a contact became hot."""
    found = 0
    for start in range(0, len(moves), batch):
        found += hot.hot(moves[start : start + batch])
        hot.took(moves[start : start + batch])
    return found


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
def test_a_contact_is_hot_once_a_minute_however_its_moves_were_batched(batch: int) -> None:
    first = [("ann", NOON + n) for n in range(4)] + [("bob", NOON + n) for n in range(2)]
    second = [("bob", NOON + MINUTE + n) for n in range(3)]
    assert 2 == told(HotContacts(moves=3), first + second, batch)


@pytest.mark.parametrize("batch", [1, 5])
def test_moves_of_two_minutes_do_not_add_up(batch: int) -> None:
    moves = [("ann", NOON + MINUTE - 1), ("ann", NOON + MINUTE - 1), ("ann", NOON + MINUTE), ("ann", NOON + MINUTE)]
    assert 0 == told(HotContacts(moves=3), moves, batch)


def test_asking_changes_nothing() -> None:
    hot = HotContacts(moves=2)
    moves = [("ann", NOON), ("ann", NOON)]
    assert (1, 1) == (hot.hot(moves), hot.hot(moves))
    assert 0 == HotContacts(moves=3).hot(moves)


def test_no_more_contacts_are_remembered_than_allowed_and_those_that_are_stay_counted() -> None:
    hot = HotContacts(moves=2, contacts=3)
    assert 0 == told(hot, [(f"c{n}", NOON) for n in range(10)], 4)
    assert 3 == told(hot, [(f"c{n}", NOON) for n in range(10)], 4)
    assert 3 == len(hot._seen)
