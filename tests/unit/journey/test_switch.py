"""Which versions a change is about, and on which older ones runs may go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.state import ContactState
from stagepost.journey.switch import Change, Switch, Version, change_of, finishing


def read(version: str, on_change: str = "keep") -> Journey:
    journey = parse_journey("journey: j\nstages:\n  - one: contact.subscribed\n", "j.yaml").journey
    assert journey is not None
    return replace(journey, version=version, on_change=on_change)  # type: ignore[arg-type]


def everything(version: Version) -> bool:
    return True


def test_a_journey_that_stays_is_no_part_of_the_change_but_what_finishes_goes_on() -> None:
    change = change_of({"j": "a"}, {}, {"j": ["z"]}, [read("a")], everything)
    assert change == Change({}, {"j": ("z",)})


def test_a_new_journey_has_nothing_to_change() -> None:
    assert change_of({"k": "a"}, {}, {}, [read("a")], everything) == Change({}, {})


def test_a_journey_that_comes_back_is_a_change_even_to_the_same_version() -> None:
    assert change_of({}, {"j": "a"}, {}, [read("a")], everything) == Change({"j": ("a",)}, {})


def test_with_finish_runs_go_on_under_the_version_before_and_the_older_ones() -> None:
    change = change_of({"j": "b"}, {}, {"j": ["a"]}, [read("c", "finish")], everything)
    assert change == Change({"j": ("b", "a")}, {"j": ("b", "a")})


def test_nobody_finishes_on_the_version_that_comes_into_force() -> None:
    change = change_of({"j": "b"}, {}, {"j": ["a"]}, [read("a", "finish")], everything)
    assert change == Change({"j": ("b", "a")}, {"j": ("b",)})


def test_nobody_finishes_on_what_cannot_be_had_any_more() -> None:
    change = change_of({"j": "b"}, {}, {"j": ["a"]}, [read("c", "finish")], lambda version: version == ("j", "a"))
    assert change == Change({"j": ("b", "a")}, {"j": ("a",)})


@pytest.mark.parametrize(
    ("state", "concerned"),
    [
        (ContactState(epoch=6), True),
        (ContactState(epoch=7), False),
        (ContactState(epoch=0, erased=1), False),
    ],
)
def test_a_contact_is_brought_up_once_and_never_when_erased(state: ContactState, concerned: bool) -> None:
    assert Switch(7, 0, None, {}).concerns(state) is concerned  # type: ignore[arg-type]


def test_nothing_finishes_where_nothing_is_known() -> None:
    assert finishing(None) == {}
