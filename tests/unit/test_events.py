"""Times on the wire: exact, and only those that can be written again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagepost.events import FIRST_TIME, LAST_TIME, parse_rfc3339, rfc3339


@given(st.integers(FIRST_TIME, LAST_TIME))
def test_every_microsecond_of_the_years_1_to_9999_is_read_as_it_was_written(at: int) -> None:
    assert at == parse_rfc3339(rfc3339(at))


@pytest.mark.parametrize(
    ("at", "text"), [(FIRST_TIME, "0001-01-01T00:00:00.000Z"), (LAST_TIME, "9999-12-31T23:59:59.999999Z")]
)
def test_the_first_and_the_last_time(at: int, text: str) -> None:
    assert text == rfc3339(at)
    assert at == parse_rfc3339(text)


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01", "2026-03-02T00:00:00", "now"]
)
def test_what_could_not_be_written_again_or_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_rfc3339(text)
