"""journeys.md 2, Machines and Uncertain reports: whose engagement counts, as timelines."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import (
    START,
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
    unsubscribed,
    with_bots,
)

from stagepost.events import MICROS
from stagepost.journey import definition as d

BEGIN = event("0d", "begin.now")
ENTERED = "0d none -> a"
TWO = journey([stage("a", is_("begin.now")), stage("b", clicked())])
SEND = sent("1d", "x", "m")


def null(at: str, url: str | None = "https://example.com/1", message: str | None = "m", **fields: Any) -> Any:
    """A click whose provider does not say who made it."""
    return click(at, url, message=message, campaign="x", machine=None, **fields)


URLS = [f"https://example.com/{n}" for n in range(1, 5)]

CASES = [
    ("machine true satisfies nothing", TWO, [BEGIN, SEND, click("2d", machine=True)], [ENTERED]),
    (
        "machine true satisfies nothing of any type",
        journey([stage("a", is_("begin.now")), stage("b", is_("order.completed"))]),
        [BEGIN, event("1d", "order.completed", machine=True)],
        [ENTERED],
    ),
    (
        "a candidate satisfies nothing, an exact recipient does",
        TWO,
        [BEGIN, click("1d", recipient_certainty="candidate"), click("2d", recipient_certainty="exact")],
        [ENTERED, "2d a -> b"],
    ),
    ("a variant satisfies nothing", TWO, [BEGIN, click("1d", variant="unique")], [ENTERED]),
    (
        "a variant of an activity of the company's is a field like any other",
        journey([stage("a", is_("begin.now")), stage("b", is_("page.seen", ("variant", "eq", "B")))]),
        [BEGIN, event("1d", "page.seen", variant="B")],
        [ENTERED, "1d a -> b"],
    ),
    (
        "an open of unknown origin is human",
        journey([stage("a", is_("begin.now")), stage("b", d.Opened())]),
        [BEGIN, SEND, event("1d1s", "email.opened", message="m", machine=None)],
        [ENTERED, "1d1s a -> b"],
    ),
    ("instant: within 2 s after the delivery, ends included", TWO, [BEGIN, SEND, null("1d2s")], [ENTERED]),
    (
        "no known earlier delivery: counts at once",
        TWO,
        [BEGIN, null("1d")],
        [ENTERED, "1d a -> b"],
    ),
    ("no message: counts at once", TWO, [BEGIN, SEND, null("1d1s", message=None)], [ENTERED, "1d1s a -> b"]),
    ("a click long after the delivery counts at once", TWO, [BEGIN, SEND, null("1d5m1s")], [ENTERED, "1d5m1s a -> b"]),
    (
        "a held click acts with its own time",
        TWO,
        [BEGIN, SEND, null("1d1m"), event("1d2m", "x.other")],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "burst: three URLs of the message within 10 s, ends included, none of them counts",
        TWO,
        [BEGIN, SEND, null("1d1m", URLS[0]), null("1d1m5s", URLS[1]), null("1d1m10s", URLS[2])],
        [ENTERED],
    ),
    (
        "the same URL three times is no burst",
        TWO,
        [BEGIN, SEND, null("1d1m"), null("1d1m5s"), null("1d1m10s")],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "URLs of two messages are no burst",
        TWO,
        [BEGIN, SEND, sent("1d", "x", "m2"), null("1d1m"), null("1d1m1s", URLS[1]), null("1d1m2s", URLS[2], "m2")],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "a click that its provider judged is no evidence of a burst",
        TWO,
        [BEGIN, SEND, null("1d1m"), null("1d1m1s", URLS[1]), click("1d1m2s", URLS[2], message="m", machine=True)],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "a click without a URL is no URL of a burst",
        TWO,
        [BEGIN, SEND, null("1d1m", URLS[0]), null("1d1m2s", URLS[1]), null("1d1m4s", None)],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "a click without a URL in the midst of a burst is the machine's",
        TWO,
        [BEGIN, SEND, null("1d1m", None), *(null(f"1d1m{n}s", URLS[n]) for n in (1, 2, 3))],
        [ENTERED],
    ),
    (
        "a message that was delivered again is judged by its newest delivery before the click",
        TWO,
        [BEGIN, SEND, event("2d", "email.delivered", message="m", campaign="x"), null("2d2s")],
        [ENTERED],
    ),
    (
        "of two deliveries only the one before the click judges it",
        TWO,
        [BEGIN, SEND, event("1d2h", "email.delivered", message="m", campaign="x"), null("1d1s")],
        [ENTERED],
    ),
    (
        "a delivery after the click does not judge it",
        TWO,
        [BEGIN, SEND, event("1d2h", "email.delivered", message="m", campaign="x"), null("1d1h")],
        [ENTERED, "1d1h a -> b"],
    ),
    (
        "three URLs in more than 10 s are a person",
        TWO,
        [BEGIN, SEND, null("1d1m"), null("1d1m6s", URLS[1]), null("1d1m12s", URLS[2])],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "far from the delivery clicks that already counted stay",
        journey([stage("a", is_("begin.now")), stage("b", clicked(times=3))]),
        [BEGIN, SEND, *(null(f"1d1h{n}s", URLS[n]) for n in range(3)), null("1d2h")],
        [ENTERED, "1d2h a -> b"],
    ),
    (
        "a burst without a known delivery counts at once",
        journey([stage("a", is_("begin.now")), stage("b", clicked(times=3))]),
        [BEGIN, *(null(f"1d1h{n}s", URLS[n]) for n in range(3))],
        [ENTERED, "1d1h2s a -> b"],
    ),
    (
        "timers due during a hold fire",
        journey(
            [stage("a", is_("begin.now")), stage("b", clicked())],
            exits=(d.Exit("e", d.After(span("1d1m5s")), "exits.e", d.Position(1, 1)),),
        ),
        [BEGIN, SEND, null("1d1m")],
        [ENTERED, "1d1m5s a -> e"],
    ),
    (
        "a click that the clock has long passed is judged at once",
        TWO,
        [BEGIN, SEND, event("1d1h", "x.other"), null("1d1m")],
        [ENTERED, "1d1m a -> b"],
    ),
    ("bots off: counts at once", with_bots(TWO, None), [BEGIN, SEND, null("1d1s")], [ENTERED, "1d1s a -> b"]),
    (
        "bots can be tuned",
        with_bots(TWO, d.Bots(instant=0, burst_urls=2, burst_within=MICROS, near=60 * MICROS, hold=MICROS)),
        [BEGIN, SEND, null("1d10s"), null("1d11s", URLS[1]), null("1d20s")],
        [ENTERED, "1d20s a -> b"],
    ),
    (
        "a machine's complaint acts",
        journey([stage("a", is_("begin.now")), stage("b", is_("email.complained"))]),
        [BEGIN, event("1d", "email.complained", machine=True)],
        [ENTERED, "1d a -> b"],
    ),
    (
        "a held click restarts no_click only when it counts",
        journey([stage("a", is_("begin.now"))], setbacks=[setback("s", d.NoClick(1, span("1m5s")), until=clicked())]),
        [BEGIN, SEND, null("1d1m")],
        [ENTERED, "1d1m5s a -> s", "1d1m5s s -> a"],
    ),
    (
        "machine true satisfies no delivery either",
        journey([stage("a", is_("begin.now")), stage("b", is_("email.delivered"))]),
        [BEGIN, event("1d", "email.delivered", campaign="x", machine=True)],
        [ENTERED],
    ),
    (
        "an uncertain reply satisfies nothing, a certain one does",
        journey([stage("a", is_("begin.now")), stage("b", is_("email.replied"))]),
        [
            BEGIN,
            event("1d", "email.replied", recipient_certainty="candidate"),
            event("2d", "email.replied", recipient_certainty="exact"),
        ],
        [ENTERED, "2d a -> b"],
    ),
    ("one second beyond instant is held, and human", TWO, [BEGIN, SEND, null("1d3s")], [ENTERED, "1d3s a -> b"]),
    (
        "a click before the delivery has no known earlier delivery",
        TWO,
        [BEGIN, SEND, null("23h59m59s")],
        [ENTERED, "23h59m59s a -> b"],
    ),
    (
        "five minutes after the delivery, the end included, is held",
        TWO,
        [BEGIN, SEND, null("1d5m"), null("1d5m1s", URLS[1]), null("1d5m2s", URLS[2])],
        [ENTERED, "1d5m1s a -> b"],
    ),
    (
        "the burst may lie before the click",
        TWO,
        [BEGIN, SEND, null("1d1m"), null("1d1m1s", URLS[1]), null("1d1m2s", URLS[2]), null("1d1m9s", URLS[0])],
        [ENTERED],
    ),
    (
        "a burst compares URLs as raw text",
        TWO,
        [BEGIN, SEND, *(null(f"1d1m{n}s", f"https://example.com/1?to={n}") for n in range(3))],
        [ENTERED],
    ),
    (
        "a judged click is no evidence, though a person made it",
        journey([stage("a", is_("begin.now")), stage("b", clicked(times=3))]),
        [BEGIN, SEND, null("1d1m"), null("1d1m1s", URLS[1]), click("1d1m2s", URLS[2], message="m")],
        [ENTERED, "1d1m1s a -> b"],
    ),
    (
        "beyond lateness a click of unknown origin is judged and never held",
        journey([stage("a", is_("begin.now")), stage("b", clicked(times=2))], lateness=span("1h")),
        [BEGIN, SEND, event("2d", "x.other"), null("1d1s"), null("1d1m"), click("2d1s")],
        [ENTERED, "2d1s a -> b"],
    ),
    (
        "beyond lateness a click is not held, though its hold would end later still",
        journey(TWO.stages, lateness=span("5s")),
        [BEGIN, SEND, event("1d1m7s", "x.other"), null("1d1m")],
        [ENTERED],
    ),
    (
        "what came while a click was held counts with it in a window, however short lateness is",
        journey([stage("a", is_("begin.now")), stage("b", clicked(times=2, within="2s"))], lateness=span("1s")),
        [BEGIN, SEND, null("1d1m"), click("1d1m"), event("1d2m", "x.other")],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "a held click is not late for having been held longer than lateness",
        journey(TWO.stages, lateness=span("5s")),
        [BEGIN, SEND, null("1d1m")],
        [ENTERED, "1d1m a -> b"],
    ),
    (
        "a held click of a link acts as that click",
        journey([stage("a", is_("begin.now")), stage("b", clicked("one"))], links=(d.Link("one", "example.com/1"),)),
        [BEGIN, SEND, null("1d1m", URLS[1]), null("1d2m", URLS[0])],
        [ENTERED, "1d2m a -> b"],
    ),
    (
        "withdrawals act, machine or not",
        journey([stage("a", is_("begin.now"))], exits=(d.Exit("e", unsubscribed("all"), "exits.e", d.Position(1, 1)),)),
        [BEGIN, event("1d", "email.unsubscribed", machine=True)],
        [ENTERED, "1d a -> e"],
    ),
]


@pytest.mark.parametrize(("journey_", "events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_engagement(journey_: d.Journey, events: list[Any], expected: list[str]) -> None:
    assert expected == play(journey_, events, until="30d")


def test_a_held_click_waits_for_ten_seconds_of_the_clock() -> None:
    partition = Partition(TWO)
    partition.batch(flat([BEGIN, SEND, null("1d1m")]))

    at_the_end = START + span("1d1m10s")
    assert [] == partition.batch([event("1d1m10s", "x.other", contact="other")])
    assert ["1d1m a -> b"] == [line(move) for move in partition.batch([], until=at_the_end)]


def test_suspicion_is_a_field_on_the_record() -> None:
    marked = journey([stage("a", is_("begin.now")), stage("b", unsubscribed("any"))])

    moves = records(marked, [BEGIN, event("1d", "email.unsubscribed", machine=True)])

    assert moves[1].cause is not None
    assert moves[1].cause.machine is True


def test_each_journey_judges_with_its_own_settings() -> None:
    journeys = [with_bots(journey(TWO.stages, name="off"), None), journey(TWO.stages, name="on")]

    assert ["off: 0d none -> a", "on: 0d none -> a", "off: 1d1s a -> b"] == play(
        journeys, [BEGIN, SEND, null("1d1s")], until="2d"
    )


def test_a_hold_in_a_tie_goes_by_journey_and_then_as_kind_hold() -> None:
    tie = d.Quiet(span("1d1m10s")), d.After(span("1d1m10s"))
    journeys = [
        journey(TWO.stages, name=name, setbacks=[setback("s", when, until="never")])
        for name, when in zip(("y", "z"), tie, strict=True)
    ]

    assert ["y: 1d1m a -> b", "z: 1d1m10s a -> s"] == play(journeys, [BEGIN, SEND, null("1d1m")], until="2d")[2:]


def test_a_held_click_earns_no_credit_for_a_timer_that_fires_before_it_in_a_tie() -> None:
    tie = journey(TWO.stages, exits=(d.Exit("e", d.After(span("1d1m10s")), "exits.e", d.Position(1, 1)),))

    assert [None, None] == [move.credit for move in records(tie, [BEGIN, SEND, null("1d1m")], until="2d")]


def test_a_click_that_is_late_for_one_journey_is_held_for_the_other() -> None:
    """In the one it is a fact at once, which a second click finds; in the other it acts when its hold is over."""
    twice = journey([stage("a", is_("begin.now")), stage("b", clicked(times=2))], "hasty", lateness=span("5s"))
    once = journey(TWO.stages, "patient")
    partition = Partition(twice, once)
    partition.batch(flat([BEGIN, SEND]))
    partition.batch([event("1d1m7s", "x.other", contact="other")])
    assert [] == partition.batch([null("1d1m", URLS[0])])
    second = partition.batch([click("1d1m8s", URLS[1], message="m")])
    assert ["hasty: 1d1m8s a -> b", "patient: 1d1m8s a -> b"] == [f"{move.journey}: {line(move)}" for move in second]


def test_what_a_click_earned_counts_once_though_it_is_held_for_another_journey() -> None:
    hasty = journey(TWO.stages, "hasty", lateness=span("5s"))
    partition = Partition(hasty, journey(TWO.stages, "patient"))
    partition.batch(flat([BEGIN, SEND]))
    partition.batch([event("1d1m7s", "x.other", contact="other"), null("1d1m", URLS[0])])
    partition.batch([event("1d2m", "x.other", contact="other")])
    counted = [count.metric for _, step in partition.steps for count in step.counts]
    assert (counted.count("clicked"), counted.count("clicked.human")) == (1, 1)
