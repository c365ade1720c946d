"""Counters by window: adding, writing, closing, forgetting."""

from __future__ import annotations

import random

from stagepost.events import BIN, DAY, HOUR
from stagepost.rollup.counters import Cell, Counters
from stagepost.rollup.windows import BY_NAME, LATENESS, WINDOWS

NOON = 20_000 * 288 + 144
"""A bin at noon."""


def written(counters: Counters) -> list[tuple[str, int, int, bool]]:
    return [(window.name, start, cell.rev, cell.final) for window, start, cell in counters.flush()]


def test_a_count_is_in_each_window_that_holds_its_bin() -> None:
    counters = Counters()
    counters.add(NOON, {"delivered": 3}, 0)
    counters.add(NOON + 1, {"delivered": 2, "clicked": 1}, 0)
    assert {
        "5m": {NOON: {"delivered": 3}, NOON + 1: {"delivered": 2, "clicked": 1}},
        "1h": {NOON: {"delivered": 5, "clicked": 1}},
        "1d": {NOON - 144: {"delivered": 5, "clicked": 1}},
        "7d": {BY_NAME["7d"].start_of(NOON): {"delivered": 5, "clicked": 1}},
        "all": {0: {"delivered": 5, "clicked": 1}},
    } == {
        name: {start: counters.counts(cell) for start, cell in cells.items()} for name, cells in counters.cells.items()
    }
    assert {"delivered": 5, "clicked": 1} == counters.life()
    assert {} == Counters().life()


def test_any_order_of_adding_gives_the_same_counts() -> None:
    rng = random.Random(3)
    deltas = [
        (NOON + rng.randrange(3000), rng.choice(["sent", "delivered", "opened"]), rng.randrange(9)) for _ in range(500)
    ]

    def counted() -> dict[str, dict[int, dict[str, int]]]:
        counters = Counters()
        for bin_, metric, n in deltas:
            counters.add(bin_, {metric: n}, 0)
        return {
            name: {at: counters.counts(cell) for at, cell in cells.items()} for name, cells in counters.cells.items()
        }

    first = counted()
    rng.shuffle(deltas)
    assert first == counted()


def test_only_what_changed_is_written_and_each_time_with_a_new_rev() -> None:
    counters = Counters()
    counters.add(NOON, {"sent": 1}, 0)
    assert [(name, 1, False) for name in ("5m", "1h", "1d", "7d", "all")] == [
        (name, rev, final) for name, _, rev, final in written(counters)
    ]
    assert [] == written(counters)
    counters.add(NOON + 1, {"sent": 1}, 0)
    assert [("5m", 1), ("1h", 2), ("1d", 2), ("7d", 2), ("all", 2)] == [
        (name, rev) for name, _, rev, _ in written(counters)
    ]


def test_a_window_is_closed_once_and_what_comes_later_is_a_new_rev_of_a_final_window() -> None:
    counters = Counters()
    counters.add(NOON, {"sent": 1}, 0)
    final_at = (NOON + 1) * BIN + LATENESS
    assert final_at == counters.next_due()
    assert [] == list(counters.close(final_at - 1))
    assert [("5m", NOON, Cell(1, True, False, (1,)))] == [
        (w.name, at, cell) for w, at, cell in counters.close(final_at)
    ]
    assert [] == list(counters.close(final_at))
    assert (NOON + 12) * BIN + LATENESS == counters.next_due()
    counters.add(NOON, {"sent": 1}, final_at)
    assert ("5m", NOON, 2, True) == written(counters)[0]
    assert [] == [at for window, at, _ in counters.close(final_at) if window.name == "5m"]


def test_what_comes_too_late_for_a_window_is_told_and_counted_in_the_longer_ones() -> None:
    counters = Counters()
    reference = (NOON + 1) * BIN + 78 * HOUR
    assert {"5m": 7} == counters.add(NOON, {"sent": 3, "delivered": 4}, reference)
    assert "5m" not in counters.cells
    assert {"sent": 3, "delivered": 4} == counters.life()
    assert {"5m": 1, "1h": 1, "1d": 1, "7d": 1} == counters.add(NOON, {"sent": 1}, reference + 400 * DAY)


def test_what_takes_no_counts_any_more_is_forgotten_and_a_scope_that_is_over_asks_for_that_once() -> None:
    counters = Counters()
    counters.add(NOON, {"sent": 3}, 0)
    list(counters.flush())
    list(counters.close(NOON * BIN + 30 * DAY))
    due = counters.next_due()
    assert (NOON + 12) * BIN + 8 * DAY == due
    assert due is not None
    counters.forget(due)
    assert {"5m": 0, "1h": 0, "1d": 1, "7d": 1, "all": 1} == {
        name: len(cells) for name, cells in counters.cells.items()
    }
    assert None is counters.next_due()
    assert {"sent": 3} == counters.life()


def test_what_is_still_to_be_written_is_not_forgotten() -> None:
    counters = Counters()
    counters.add(NOON, {"sent": 3}, 0)
    counters.forget(NOON * BIN + 400 * DAY)
    assert ["5m", "1h", "1d", "7d", "all"] == [name for name, *_ in written(counters)]
    counters.forget(NOON * BIN + 400 * DAY)
    assert ["all"] == [name for name, cells in counters.cells.items() if cells]


def test_a_copy_is_independent() -> None:
    counters = Counters()
    counters.add(NOON, {"sent": 3}, 0)
    copy = counters.copy()
    copy.add(NOON, {"sent": 1, "opened": 1}, 0)
    assert ({"sent": 3}, {"sent": 4, "opened": 1}) == (counters.life(), copy.life())


def test_a_year_of_traffic_is_kept_in_bounded_space() -> None:
    counters = Counters()
    for bin_ in range(NOON, NOON + 366 * 288, 12):
        counters.add(bin_, {"sent": 1}, bin_ * BIN)
        if bin_ % 288 == 0:
            list(counters.flush())
            counters.forget(bin_ * BIN)
    assert all(len(cells) <= 400 for cells in counters.cells.values())
    assert {"sent": 366 * 24} == counters.life()
    assert len(WINDOWS) == len(counters.cells)
