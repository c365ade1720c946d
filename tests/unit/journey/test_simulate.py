"""Simulation: the same fold as the worker's, whole or in pieces, and the funnel that transitions alone give."""

from __future__ import annotations

import msgspec
import pytest

from stagepost.events import DAY, HOUR, Event, Transition, parse_rfc3339, rfc3339
from stagepost.journey import simulate
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.journey.result import Outcome
from stagepost.journey.simulate import Elsewhere, Funnel, FunnelRow, Simulation, elsewhere, side_by_side

START = parse_rfc3339("2026-03-02T00:00:00Z")
TEXT = """
journey: j
stages:
  - one: contact.subscribed
  - two: {clicked: any}
setbacks:
  - quiet: {quiet: 5d}
recover: {clicked: any}
exits:
  - old: {after: 20d}
"""


@pytest.fixture
def journey() -> Journey:
    parsed = parse_journey(TEXT, "j.yaml")
    assert parsed.journey is not None
    return parsed.journey


def event(n: int, at: int, contact: str, type_: str, **fields: object) -> tuple[Event, int]:
    body = {"id": f"e{n}", "type": type_, "occurred_at": rfc3339(at), "contact": contact, **fields}
    return msgspec.convert(body, Event), at


def stream() -> list[tuple[Event, int]]:
    made = []
    for n in range(30):
        contact = f"c{n % 6}"
        at = START + n * 6 * HOUR
        if n < 6:
            made.append(event(n, at, contact, "contact.subscribed"))
        else:
            made.append(event(n, at, contact, "email.clicked", machine=False, url="https://example.com/"))
    return [*made, event(99, START + 12 * DAY, "c0", "contact.subscribed")]


def run(journey: Journey, until: int | None = None) -> list[Transition]:
    return list(Simulation(compile_program([journey])).run(stream(), until))


def test_where_pieces_end_changes_nothing(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(journey)
    monkeypatch.setattr(simulate, "PIECE", 1)
    assert run(journey) == whole
    assert {move.kind for move in whole} == {"enter", "advance", "setback"}


def test_the_clock_follows_the_events_and_then_runs_on_to_until(journey: Journey) -> None:
    short, long = run(journey), run(journey, START + 30 * DAY)
    assert long[: len(short)] == short
    assert [move.to for move in long[len(short) :]].count("old") == 6


def test_an_earlier_until_is_ignored(journey: Journey) -> None:
    assert run(journey, START) == run(journey)


def test_outcomes_are_counted(journey: Journey) -> None:
    simulation = Simulation(compile_program([journey]))
    list(simulation.run([*stream(), stream()[-1]], None))
    assert simulation.outcomes == {Outcome.APPLIED: 31, Outcome.DUPLICATE: 1}


def test_the_funnel_counts_who_is_where_and_who_ever_came_so_far(journey: Journey) -> None:
    funnel = Funnel([journey])
    for move in run(journey, START + 30 * DAY):
        funnel.add(move)
    assert funnel.rows("j") == (
        FunnelRow("one", "stage", 0, 6),
        FunnelRow("two", "stage", 0, 6),
        FunnelRow("quiet", "setback", 0, 6),
        FunnelRow("old", "exit", 6, 6),
    )


def test_contacts_that_stand_elsewhere_are_counted_in_groups_the_largest_first() -> None:
    old = {"a": "one", "b": "one", "c": "two", "d": "one"}
    new = {"a": "two", "b": "two", "c": "two", "e": "one"}
    assert (Elsewhere("one", "two", 2), Elsewhere(None, "one", 1), Elsewhere("one", None, 1)) == elsewhere(old, new)


def test_two_funnels_stand_side_by_side_in_the_order_of_the_new_one() -> None:
    one, two, gone = FunnelRow("one", "stage", 1, 2), FunnelRow("two", "stage", 3, 4), FunnelRow("gone", "exit", 5, 6)
    assert ((None, two), (one, one), (gone, None)) == side_by_side([one, gone], [two, one])


def test_feeding_pieces_and_finishing_is_running(journey: Journey) -> None:
    events = [event(n, START + n * DAY, "c", "contact.subscribed") for n in range(7)]
    whole, parts = Simulation(compile_program([journey])), Simulation(compile_program([journey]))
    moves = [*parts.feed(events[:3]), *parts.feed(events[3:]), *parts.finish(START + 30 * DAY)]
    assert list(whole.run(events, START + 30 * DAY)) == moves
    assert 3 <= len(moves)
