"""journeys.md 3, Consent: what is stored, what moves, and what withdrawing it deletes, as timelines."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import (
    Partition,
    click,
    clicked,
    event,
    flat,
    is_,
    journey,
    line,
    play,
    records,
    sent,
    setback,
    span,
    stage,
)

from stagepost.journey import definition as d

BEGIN = event("0d", "contact.subscribed")
ENTERED = "0d none -> a"
GRANTED = d.Consent("tracking", "granted")
DENIED = d.Consent("tracking")


def asking(*more_stages: d.Stage, consent: d.Consent = DENIED, **more: Any) -> d.Journey:
    stages = [stage("a", is_("contact.subscribed")), stage("b", clicked()), *more_stages]
    return journey(stages, consent=consent, **more)


def given(at: str, purpose: str | None = "tracking") -> Any:
    return event(at, "contact.consent_given", **({"purpose": purpose} if purpose else {}))


def withdrawn(at: str, purpose: str | None = "tracking") -> Any:
    return event(at, "contact.consent_withdrawn", **({"purpose": purpose} if purpose else {}))


CASES = [
    ("without consent no engagement moves", asking(), [BEGIN, click("1d"), event("2d", "page.seen")], [ENTERED]),
    ("with consent it does", asking(), [BEGIN, given("1d"), click("2d")], [ENTERED, "2d a -> b"]),
    ("consent for another purpose is none", asking(), [BEGIN, given("1d", "ads"), click("2d")], [ENTERED]),
    ("no purpose given means all", asking(), [BEGIN, given("1d", None), click("2d")], [ENTERED, "2d a -> b"]),
    (
        "purpose is looked up like where",
        asking(),
        [BEGIN, event("1d", "contact.consent_given", data={"purpose": "tracking"}, purpose="ads"), click("2d")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "an older withdrawal that arrives late moves the time from which sends count",
        asking(consent=GRANTED, setbacks=[setback("s", d.NoClick(1, span("5d")), until="never")]),
        [BEGIN, sent("1d", "x"), given("2d"), withdrawn("1d12h")],
        [ENTERED],
    ),
    ("default granted", asking(consent=GRANTED), [BEGIN, click("2d")], [ENTERED, "2d a -> b"]),
    (
        "engagement from before the consent is not stored, whenever it arrives",
        asking(stage("c", clicked(times=2))),
        [BEGIN, click("1h"), given("1d"), click("23h"), click("2d")],
        [ENTERED, "2d a -> b"],
    ),
    (
        "withdrawn: the run ends",
        asking(),
        [BEGIN, given("1d"), withdrawn("2d"), click("3d")],
        [ENTERED, "2d a -> consent_withdrawn"],
    ),
    (
        "withdrawn for all purposes",
        asking(),
        [BEGIN, given("1d"), withdrawn("2d", None)],
        [ENTERED, "2d a -> consent_withdrawn"],
    ),
    ("withdrawn for another purpose", asking(), [BEGIN, given("1d"), withdrawn("2d", "ads")], [ENTERED]),
    (
        "given and withdrawn order by their own times",
        asking(),
        [BEGIN, given("2d"), withdrawn("1d"), click("3d")],
        [ENTERED, "3d a -> b"],
    ),
    (
        "withdrawn acts even beyond lateness",
        asking(consent=GRANTED),
        [BEGIN, event("10d", "x.other"), withdrawn("2d")],
        [ENTERED, "2d a -> consent_withdrawn"],
    ),
    (
        "withdrawn deletes stored engagement",
        asking(stage("c", clicked(times=2)), consent=GRANTED, reenter=d.Reenter(0)),
        [BEGIN, click("1d"), withdrawn("2d"), given("3d"), event("4d", "contact.subscribed"), click("5d")],
        [ENTERED, "1d a -> b", "2d b -> consent_withdrawn", "4d none -> a", "5d a -> b"],
    ),
    (
        "quiet does not run without consent and counts from when it was given",
        asking(setbacks=[setback("s", d.Quiet(span("3d")), until="never")]),
        [BEGIN, given("10d")],
        [ENTERED, "13d a -> s"],
    ),
    (
        "given again restarts nothing",
        asking(setbacks=[setback("s", d.Quiet(span("3d")), until="never")]),
        [BEGIN, given("10d"), given("12d")],
        [ENTERED, "13d a -> s"],
    ),
    (
        "given again restarts nothing where the default is granted",
        asking(consent=GRANTED, setbacks=[setback("s", d.Quiet(span("3d")), until="never")]),
        [BEGIN, given("1d")],
        [ENTERED, "3d a -> s"],
    ),
    (
        "no_click counts sends from when consent was given",
        asking(setbacks=[setback("s", d.NoClick(1, span("1d")), until="never")]),
        [BEGIN, sent("1d", "x"), given("10d"), sent("11d", "y")],
        [ENTERED, "12d a -> s"],
    ),
    (
        "a first before consent does not arm",
        asking(setbacks=[setback("s", d.Missed(is_("email.delivered"), is_("x.y"), span("1d")), until="never")]),
        [BEGIN, sent("1d", "x"), given("10d"), sent("11d", "y")],
        [ENTERED, "12d a -> s"],
    ),
    (
        "stuck and after need no consent",
        asking(setbacks=[setback("s", d.Stuck(span("3d")), until="never")]),
        [BEGIN],
        [ENTERED, "3d a -> s"],
    ),
]


@pytest.mark.parametrize(("journey_", "events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_consent(journey_: d.Journey, events: list[Any], expected: list[str]) -> None:
    assert expected == play(journey_, events, until="30d")


def test_refusals_are_counted_per_journey() -> None:
    partition = Partition(asking(name="one"), asking(name="two", consent=GRANTED), asking(name="three"))

    partition.batch(flat([BEGIN, click("1d"), event("2d", "page.seen"), sent("3d", "x")]))

    assert [(), ("one", "three"), ("one", "three"), (), ()] == [step.refused for _, step in partition.steps]


def test_the_exit_has_rule_consent_and_no_credit() -> None:
    events = [BEGIN, click("1d", campaign="x"), withdrawn("2d")]

    last = records(asking(consent=GRANTED), events)[-1]

    assert ("consent", None, "exit") == (last.rule, last.credit, last.kind)


def test_journeys_without_consent_go_on() -> None:
    journeys = [
        asking(name="asks"),
        journey([stage("a", is_("contact.subscribed")), stage("b", clicked())], name="free"),
    ]

    moves = play(journeys, [BEGIN, click("1d"), given("2d"), withdrawn("3d")])

    assert ["asks: 0d none -> a", "free: 0d none -> a", "free: 1d a -> b", "asks: 3d a -> consent_withdrawn"] == moves


def test_withdrawn_deletes_engagement_without_a_run_and_the_click_that_gives_credit() -> None:
    pair = journey([stage("a", d.AllOf((is_("page.seen"), is_("x.go"))))], consent=GRANTED, setbacks=[])
    partition = Partition(pair)

    partition.batch(flat([event("0d", "page.seen"), click("1h", campaign="x"), withdrawn("1d")]))
    assert [] == [line(move) for move in partition.batch([event("2d", "x.go")])]

    state = partition.states["c"]
    assert state is not None
    assert partition.program.journeys[0].lens not in state.lenses
