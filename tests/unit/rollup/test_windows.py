"""Tumbling windows in UTC."""

from __future__ import annotations

import pytest

from stagepost.events import BIN, DAY, HOUR, parse_rfc3339, rfc3339
from stagepost.rollup.windows import BY_NAME, LATENESS, WINDOWS


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("5m", "2026-11-24T13:35:00.000Z", "2026-11-24T13:40:00.000Z"),
        ("1h", "2026-11-24T13:00:00.000Z", "2026-11-24T14:00:00.000Z"),
        ("1d", "2026-11-24T00:00:00.000Z", "2026-11-25T00:00:00.000Z"),
        ("7d", "2026-11-23T00:00:00.000Z", "2026-11-30T00:00:00.000Z"),
    ],
)
def test_a_tuesday_afternoon_lies_in_windows_aligned_to_utc_and_a_week_from_monday(
    window: str, start: str, end: str
) -> None:
    first = BY_NAME[window].start_of(parse_rfc3339("2026-11-24T13:37:12Z") // BIN)
    ends = BY_NAME[window].end_of(first)
    assert ends is not None
    assert (start, end) == (rfc3339(first * BIN), rfc3339(ends))


def test_the_life_of_a_scope_begins_at_zero_and_never_ends() -> None:
    window = BY_NAME["all"]
    assert (0, None, None) == (window.start_of(5_971_000), window.end_of(0), window.final_at(0))
    assert window.takes(0, 10**18)


def test_every_bin_lies_in_the_window_that_it_starts_or_follows() -> None:
    for window in WINDOWS[:-1]:
        assert window.bins is not None
        for bin_ in range(5_900_000, 5_900_000 + 2 * window.bins, max(1, window.bins // 50)):
            start = window.start_of(bin_)
            assert start <= bin_ < start + window.bins
            assert start == window.start_of(start)


def test_a_window_is_final_six_hours_after_its_end_and_takes_counts_for_longer() -> None:
    hour = BY_NAME["1h"]
    assert (0 + HOUR + LATENESS, 6 * HOUR) == (hour.final_at(0), LATENESS)
    assert (True, False) == (hour.takes(0, HOUR + 8 * DAY - 1), hour.takes(0, HOUR + 8 * DAY))
    assert all(window.kept > LATENESS for window in WINDOWS[:-1])
