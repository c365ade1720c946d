"""Durations as a journey file writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost.events import DAY, HOUR, MICROS, MINUTE
from stagepost.journey.durations import LONGEST, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", 90 * MICROS), ("15m", 15 * MINUTE), ("48h", 48 * HOUR), ("14d", 14 * DAY), ("2w", 14 * DAY), ("0d", 0)],
)
def test_a_number_and_a_unit(text: str, span: int) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize("text", ["", "3", "d", "3 d", "1.5h", "-3d", "3D", "3days", "1h30m", "9999999999s", "3651d"])
def test_everything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"3650d|such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7days", "7d"),
        ("1 day", "1d"),
        ("90 Sec", "90s"),
        ("15min", "15m"),
        ("2HRS", "2h"),
        ("3D", "3d"),
        (" 2wks", "2w"),
    ],
)
def test_a_unit_in_full_is_told_as_it_is_written(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=rf"did you mean {meant}\?"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["7", "3 months", "1h30m", "d"])
def test_where_no_unit_can_be_told_none_is_guessed(text: str) -> None:
    with pytest.raises(ValueError, match=r"or 2w$"):
        parse_duration(text)


@given(st.integers(0, LONGEST // MICROS))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration(duration_text(seconds * MICROS)) == seconds * MICROS
