"""The wire form of times: exact, and never a time that could not be written again."""

from __future__ import annotations

import pytest

from stagepost.events import parse_rfc3339, rfc3339


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00.000Z", "2026-11-02T09:14:07.123456Z", "9999-12-31T23:59:59.999999Z"]
)
def test_a_time_comes_back_from_micros_as_it_was(text: str) -> None:
    assert text == rfc3339(parse_rfc3339(text))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_offset_that_leaves_the_calendar_ends_with_it(text: str, end: str) -> None:
    assert end == rfc3339(parse_rfc3339(text))
