"""The engine agrees with the naive interpreter, record for record (``tests/oracle``; its long run is a command)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.oracle import compare
from tests.oracle.interpreter import run
from tests.oracle.language import SECOND, read
from tests.oracle.matching import link

CASES = 400
PIECES = 8


@pytest.mark.parametrize("piece", range(PIECES))
def test_engine_and_oracle_make_the_same_records(piece: int) -> None:
    for seed in range(piece * CASES // PIECES, (piece + 1) * CASES // PIECES):
        case = compare.case(seed)
        if not compare.agrees(case):
            small = compare.smaller(case, lambda candidate: not compare.agrees(candidate))
            pytest.fail(f"case {seed}, made smaller:\n{compare.report(small)}", pytrace=False)


def test_the_random_cases_make_every_kind_of_record_and_fire_every_kind_of_timer() -> None:
    records = [record for seed in range(CASES) for record in compare.by_oracle(compare.case(seed))]

    kinds = {"enter", "advance", "setback", "recover", "stall", "exit", "reenter"}
    timers = {"stall", "quiet", "no_click", "missed", "stuck", "after"}
    assert kinds == {record["kind"] for record in records}
    assert timers == {record["timer"][0] for record in records if record["timer"]}
    assert {"direct", "last_click"} == {record["credit"]["how"] for record in records if record["credit"]}
    assert {True, False} == {record["late"] for record in records}
    assert {True, False} == {record["goal"] for record in records}
    assert "consent" in {record["rule"] for record in records}


def test_a_difference_is_seen_and_made_small() -> None:
    """A case that differs only because the oracle reads another journey: what is left shows why."""
    case = next(one for seed in range(CASES) if len(compare.by_oracle(one := compare.case(seed))) > 2)

    def differs(candidate: compare.Case) -> bool:
        later = dataclasses.replace(candidate, events=candidate.events[1:])
        return bool(compare.by_engine(candidate) != compare.by_oracle(later))

    small = compare.smaller(case, differs)

    assert differs(small)
    assert len(small.events) < len(case.events)
    assert "- oracle, + engine" in compare.report(small)


WEBINAR = """
journey: webinar-nurture
links:
  pricing: {url: example.com/pricing/**, means: intent}
stages:
  - subscribed: contact.subscribed
  - interested: {clicked: pricing}
setbacks:
  - drifting: {no_click: {sends: 3, grace: 48h}}
recover: {clicked: any}
"""


def happened(day: int, type_: str, **fields: Any) -> dict[str, Any]:
    at = f"2026-03-{2 + day:02d}T00:00:00Z"
    return {"id": f"{type_} {day}", "type": type_, "occurred_at": at, "contact": "c", "machine": False, **fields}


def test_the_oracle_tells_the_first_example_of_the_page() -> None:
    events = [
        happened(0, "contact.subscribed"),
        happened(1, "email.clicked", url="https://example.com/pricing/teams?utm_source=x"),
        *(happened(day, "email.delivered", campaign=f"nurture-{day}") for day in (2, 3, 4)),
        happened(7, "email.clicked", url="https://example.com/blog/a"),
    ]

    records = run([read(WEBINAR)], events)

    start, day = records[0]["at"], 86_400 * SECOND
    assert [
        (0, None, "subscribed"),
        (1, "subscribed", "interested"),
        (6, "interested", "drifting"),
        (7, "drifting", "interested"),
    ] == [((record["at"] - start) // day, record["from"], record["to"]) for record in records]


@pytest.mark.parametrize(
    ("pattern", "url", "expected"),
    [
        ("example.com/a/*", "https://EXAMPLE.com:443/a/b/?x=1#y", True),
        ("example.com/a/*", "https://example.com/a/b/c", False),
        ("example.com/a/**", "https://example.com/a", True),
        ("*.example.com", "https://example.com/", False),
        ("example.com", "https://example.com/a", False),
        ("example.com/a?k=v", "https://example.com/a?utm_source=x&k=v", True),
        ("example.com/a?k=v", "https://example.com/a?k=w", False),
    ],
)
def test_links_of_the_oracle(pattern: str, url: str, expected: bool) -> None:
    assert expected == link(pattern, url)
