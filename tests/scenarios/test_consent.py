"""journeys.md 3, Consent: what is stored, what moves, and what withdrawing it deletes, as timelines."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import (
    Partition,
    click,
    clicked,
    event,
    exit_,
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
MISSED = d.Missed(is_("email.delivered"), is_("email.bounced"), span("1d"))


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
        "no_click counts a campaign from when consent was given, though it was sent before too",
        asking(setbacks=[setback("s", d.NoClick(1, span("1d")), until="never")]),
        [BEGIN, sent("1d", "x"), given("10d"), sent("11d", "x", "m2")],
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
    (
        "opens, replies and custom activities are engagement, deliveries and withdrawals are none",
        journey(
            [
                stage("a", is_("contact.subscribed")),
                stage("b", d.AnyOf((d.Opened(), is_("email.replied"), is_("page.seen")))),
                stage("c", is_("email.delivered")),
            ],
            consent=DENIED,
        ),
        [BEGIN, event("1d", "email.opened"), event("2d", "email.replied"), event("3d", "page.seen"), sent("4d", "x")],
        [ENTERED, "4d a -> c"],
    ),
    (
        "consent to nothing that has a name is no consent",
        asking(),
        [BEGIN, event("1d", "contact.consent_given", data={"purpose": 7}), click("2d")],
        [ENTERED],
    ),
    (
        "quiet stops when consent is withdrawn, with and without a run",
        journey([stage("lapsed", d.Quiet(span("3d")))], consent=GRANTED),
        [event("0d", "page.seen"), withdrawn("1d")],
        [],
    ),
    (
        "no_click does not run without consent",
        asking(setbacks=[setback("s", d.NoClick(1, span("1d")), until="never")]),
        [BEGIN, sent("1d", "x")],
        [ENTERED],
    ),
    (
        "missed does not run without consent",
        asking(setbacks=[setback("s", d.Missed(is_("email.delivered"), is_("x.y"), span("1d")), until="never")]),
        [BEGIN, sent("1d", "x")],
        [ENTERED],
    ),
    (
        "given after a withdrawal counts from then",
        asking(consent=GRANTED, setbacks=[setback("s", d.Quiet(span("3d")), until="never")], reenter=d.Reenter(0)),
        [BEGIN, withdrawn("1d"), event("2d", "contact.subscribed"), given("5d")],
        [ENTERED, "1d a -> consent_withdrawn", "2d none -> a", "8d a -> s"],
    ),
    (
        "never_after may name consent_withdrawn",
        asking(consent=GRANTED, reenter=d.Reenter(span("1d"), ("consent_withdrawn",))),
        [BEGIN, withdrawn("1d"), given("2d"), event("9d", "contact.subscribed")],
        [ENTERED, "1d a -> consent_withdrawn"],
    ),
    (
        "the exit for consent comes before every other rule",
        asking(exits=(exit_("out", is_("contact.consent_withdrawn")),), consent=GRANTED),
        [BEGIN, withdrawn("1d")],
        [ENTERED, "1d a -> consent_withdrawn"],
    ),
    (
        "consent given after a stall reports no other in that stay",
        journey([stage("a", is_("contact.subscribed"), "3d")], consent=DENIED),
        [BEGIN, given("10d")],
        [ENTERED, "3d stall a"],
    ),
    (
        "withdrawn deletes what was counted without a run",
        journey([stage("a", d.AllOf((is_("page.seen"), is_("x.go"))))], consent=GRANTED),
        [event("0d", "page.seen"), withdrawn("1d"), given("2d"), event("3d", "x.go")],
        [],
    ),
    (
        "withdrawn deletes the activity that quiet counted from",
        journey([stage("lapsed", d.Quiet(span("3d")))], consent=GRANTED),
        [event("0d", "page.seen"), withdrawn("1d"), given("2d")],
        [],
    ),
    (
        "a first that arrives before consent does not arm, though the consent is older",
        journey([stage("lapsed", MISSED)], consent=DENIED),
        [sent("3d", "x"), given("2d12h")],
        [],
    ),
    (
        "missed stops when consent is withdrawn",
        journey([stage("lapsed", MISSED)], consent=GRANTED),
        [sent("0d", "x"), withdrawn("12h")],
        [],
    ),
    (
        "missed counts from when consent was given: what was armed before a withdrawal does not fire",
        journey([stage("lapsed", MISSED)], consent=GRANTED),
        [sent("0d", "x"), withdrawn("12h"), given("5d")],
        [],
    ),
    (
        "missed is armed anew after consent was given again",
        journey([stage("lapsed", MISSED)], consent=GRANTED),
        [sent("0d", "x"), withdrawn("12h"), given("5d"), sent("6d", "y")],
        ["7d none -> lapsed"],
    ),
    (
        "at most one move: the event that ends a run for lack of consent begins none",
        journey(
            [stage("a", d.AnyOf((is_("contact.subscribed"), is_("contact.consent_withdrawn"))))],
            consent=GRANTED,
            reenter=d.Reenter(0),
        ),
        [BEGIN, withdrawn("1d")],
        [ENTERED, "1d a -> consent_withdrawn"],
    ),
]


@pytest.mark.parametrize(("journey_", "events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_consent(journey_: d.Journey, events: list[Any], expected: list[str]) -> None:
    assert expected == play(journey_, events, until="30d")


def test_refusals_are_counted_per_journey() -> None:
    partition = Partition(asking(name="one"), asking(name="two", consent=GRANTED), asking(name="three"))

    partition.batch(flat([BEGIN, click("1d"), event("2d", "page.seen"), sent("3d", "x")]))

    assert [(), ("one", "three"), ("one", "three"), (), ()] == [step.refused for _, step in partition.steps]


def test_records_of_a_withdrawal_for_all_purposes_go_by_journey_name() -> None:
    journeys = [
        asking(name=name, consent=d.Consent(purpose, "granted"))
        for name, purpose in (("a", "ads"), ("b", "tracking"), ("c", "ads"))
    ]

    moves = play(journeys, [BEGIN, withdrawn("1d", None)])

    assert [f"{name}: 1d a -> consent_withdrawn" for name in "abc"] == moves[3:]


def test_the_exit_has_rule_consent_and_no_credit() -> None:
    events = [BEGIN, click("1d", campaign="x"), withdrawn("2d")]

    last = records(asking(consent=GRANTED), events)[-1]

    assert ("consent", None, "exit") == (last.rule, last.credit, last.kind)


def test_a_click_without_consent_earns_no_credit_once_it_is_given() -> None:
    events = [BEGIN, click("1d", campaign="x"), given("2d"), event("3d", "x.go")]

    last = records(asking(stage("c", is_("x.go"))), events)[-1]

    assert ("c", None) == (last.to, last.credit)


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
