"""journeys.md 3 and 3.1: what a record says of a move, and what is counted without one, sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import (
    START,
    Partition,
    click,
    clicked,
    event,
    exit_,
    flat,
    is_,
    journey,
    line,
    offset,
    records,
    sent,
    setback,
    span,
    stage,
)

from stagepost.events import Credit, Membership, SendRef, parse_rfc3339
from stagepost.journey import definition as d
from stagepost.journey.result import Outcome
from stagepost.journey.step import memberships

BEGIN = event("0d", "begin.now")
ENTERED = "0d none -> a"


def ab(**more: Any) -> d.Journey:
    return journey([stage("a", is_("begin.now")), stage("b", is_("x.b"))], **more)


def credits_of(journey_: d.Journey, *events: Any, until: str | None = None) -> list[str]:
    """``campaign how time`` of every record after the first."""
    found = [move.credit for move in records(journey_, events, until)][1:]
    return [f"{c.campaign} {c.how} {offset(parse_rfc3339(c.at))}" if c is not None else "none" for c in found]


CREDITS = [
    (
        "direct: the cause is an e-mail event that names a send",
        [event("1d", "email.bounced", campaign="x")],
        "x direct 1d",
    ),
    (
        "direct comes before a last click",
        [click("1h", campaign="y"), event("1d", "email.bounced", campaign="x")],
        "x direct 1d",
    ),
    (
        "an e-mail event that names no send takes the last click",
        [click("1h", campaign="y"), event("1d", "email.bounced")],
        "y last_click 1h",
    ),
    (
        "last_click: the last human click that names a send",
        [click("1h", campaign="x"), click("2h", campaign="y"), click("3h"), event("1d", "x.b")],
        "y last_click 2h",
    ),
    (
        "last by its own time",
        [click("2h", campaign="y"), click("1h", campaign="x"), event("1d", "x.b")],
        "y last_click 2h",
    ),
    (
        "at most 7 d before, the end of the window included",
        [click("1h", campaign="x"), event("7d1h", "x.b")],
        "x last_click 1h",
    ),
    ("not earlier", [click("1h", campaign="x"), event("7d1h1s", "x.b")], "none"),
    (
        "the window ends at the event's own time, its end included",
        [click("1d", campaign="x"), event("1d", "x.b")],
        "x last_click 1d",
    ),
    ("a click after the event's own time earns nothing", [click("2d", campaign="x"), event("1d12h", "x.b")], "none"),
    ("a machine earns no credit", [click("1h", campaign="x", machine=True), event("1d", "x.b")], "none"),
    ("a variant earns no credit", [click("1h", campaign="x", variant="unique"), event("1d", "x.b")], "none"),
    (
        "an uncertain click earns no credit",
        [click("1h", campaign="x", recipient_certainty="candidate"), event("1d", "x.b")],
        "none",
    ),
    ("an open earns no credit", [event("1h", "email.opened", campaign="x"), event("1d", "x.b")], "none"),
    ("no click: none", [event("1d", "x.b")], "none"),
    (
        "an activity is no e-mail event, whatever send it names",
        [click("1h", campaign="y"), event("1d", "x.b", campaign="x")],
        "y last_click 1h",
    ),
]


@pytest.mark.parametrize(("events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CREDITS])
def test_credit(events: list[Any], expected: str) -> None:
    either = journey([stage("a", is_("begin.now")), stage("b", d.AnyOf((is_("x.b"), is_("email.bounced"))))])

    assert [expected] == credits_of(either, BEGIN, *events)


def test_credit_goes_to_a_campaign_that_is_no_send_of_the_journey() -> None:
    assert ["x last_click 1h"] == credits_of(ab(sends=("n-*",)), BEGIN, click("1h", campaign="x"), event("1d", "x.b"))


def test_the_attribution_window_can_be_set() -> None:
    short = ab(attribution=span("2d"))

    assert ["none"] == credits_of(short, BEGIN, click("1d", campaign="x"), event("3d1s", "x.b"))


def test_the_credit_of_a_timer_looks_back_from_its_due_time() -> None:
    ending = ab(exits=(exit_("expired", d.After(span("9d"))),))
    events = [click("2d", campaign="x"), click("9d1h", campaign="y")]

    assert ["x last_click 2d"] == credits_of(ending, BEGIN, *events)


def test_a_stall_has_credit_and_last_send_too() -> None:
    stalling = journey([stage("a", is_("begin.now"), "3d")])

    stalled = records(stalling, [BEGIN, sent("1d", "x", "m"), click("2d", campaign="x", message="m")], until="9d")[1]

    assert Credit("x", "m", "2026-03-04T00:00:00.000Z", "last_click") == stalled.credit
    assert SendRef("x", "m", "2026-03-03T00:00:00.000Z") == stalled.last_send


def test_last_send_is_the_newest_delivery_known_and_null_before_any() -> None:
    events = [
        BEGIN,
        sent("2d", "x", "mx"),
        sent("1d23h", "y", "my"),
        event("2d", "email.sent", campaign="z", message="mz"),
    ]

    moves = records(ab(), [*events, event("3d", "x.b")])

    assert [None, SendRef("x", "mx", "2026-03-04T00:00:00.000Z")] == [move.last_send for move in moves]


def test_a_duplicate_stops_before_the_rules_and_is_counted() -> None:
    twice = journey([stage("a", is_("begin.now")), stage("b", is_("page.seen", times=2))])
    seen = event("1d", "page.seen")
    partition = Partition(twice)

    moves = partition.batch([BEGIN, seen, seen, BEGIN])

    assert [ENTERED] == [line(move) for move in moves]
    assert [Outcome.APPLIED, Outcome.APPLIED, Outcome.DUPLICATE, Outcome.DUPLICATE] == [
        step.outcome for _, step in partition.steps
    ]


def test_events_are_remembered_for_72_hours_at_least_whatever_comes_between() -> None:
    twice = journey([stage("a", is_("begin.now")), stage("b", is_("page.seen", times=2))])
    seen = event("1h", "page.seen")
    partition = Partition(twice)
    between = [event(f"{hour}h", "x.other") for hour in (2, 20, 40, 60, 74, 76)]

    moves = partition.batch([BEGIN, seen, *between, seen])

    assert [ENTERED] == [line(move) for move in moves]
    assert Outcome.DUPLICATE == partition.steps[-1][1].outcome


def test_a_test_event_does_not_enter_the_memory_of_duplicates_and_is_counted() -> None:
    partition = Partition(ab())

    moves = partition.batch([BEGIN, event("1d", "x.b", id="same", test=True), event("1d", "x.b", id="same")])

    assert [ENTERED, "1d a -> b"] == [line(move) for move in moves]
    assert [Outcome.APPLIED, Outcome.TEST, Outcome.APPLIED] == [step.outcome for _, step in partition.steps]


def test_late_is_older_than_the_clock_by_more_than_lateness_and_is_counted() -> None:
    partition = Partition(ab(lateness=span("1d")))

    partition.batch([BEGIN, event("5d", "x.other"), event("4d", "x.other"), event("3d23h59m59s", "x.other")])

    assert [Outcome.APPLIED] * 3 + [Outcome.LATE] == [step.outcome for _, step in partition.steps]


def test_the_facts_of_a_late_event_reach_the_metrics() -> None:
    partition = Partition(ab(lateness=span("1d")))

    partition.batch([BEGIN, event("5d", "x.other"), event("1d", "email.delivered", campaign="x", message="m")])

    assert [("delivered", START + span("1d"))] == [(count.metric, count.at) for count in partition.steps[-1][1].counts]


def test_membership_carries_stalled_until_the_next_move() -> None:
    stalling = journey([stage("a", is_("begin.now"), "3d"), stage("b", is_("x.b"))])
    partition = Partition(stalling)

    partition.batch([BEGIN, event("3d1s", "x.other"), event("4d", "x.b")])

    found = [m for _, step in partition.steps for m in memberships("c", step)]
    assert [("a", ()), ("a", ("stalled",)), ("b", ())] == [(m.stage, m.flags) for m in found]


def test_membership_says_run_place_best_status_and_goal() -> None:
    whole = ab(
        goal=d.Goal("b"),
        setbacks=[setback("s", is_("x.s"), ["b"], until=is_("x.up"))],
        exits=(exit_("out", is_("x.out")),),
    )
    partition = Partition(whole)

    partition.batch([BEGIN, event("1d", "x.b"), event("2d", "x.s"), event("3d", "x.out")])

    found = [m for _, step in partition.steps for m in memberships("c", step)]
    common = {"journey": "j", "contact": "c", "run": "c/j/1", "version": "v1"}
    assert [
        Membership(stage="a", since="2026-03-02T00:00:00.000Z", best="a", status="active", goal=False, **common),
        Membership(stage="b", since="2026-03-03T00:00:00.000Z", best="b", status="active", goal=True, **common),
        Membership(stage="s", since="2026-03-04T00:00:00.000Z", best="b", status="active", goal=True, **common),
        Membership(stage="out", since="2026-03-05T00:00:00.000Z", best="b", status="exited", goal=True, **common),
    ] == found


def test_the_goal_can_be_reached_again_in_another_run() -> None:
    again = ab(goal=d.Goal("b"), exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(0))
    types = ["begin.now", "x.b", "x.out", "begin.now", "x.b"]

    moves = records(again, [event(f"{day}d", type_) for day, type_ in enumerate(types)])

    assert [False, True, False, False, True] == [move.goal for move in moves]


def test_a_late_first_visit_of_the_goal_is_the_first_all_the_same() -> None:
    over = ab(goal=d.Goal("b", span("2d")), setbacks=[setback("s", is_("x.s"), ["b"], until=is_("x.up"))])

    moves = records(over, [BEGIN, event("3d", "x.b"), event("4d", "x.s"), event("5d", "x.up")])

    assert [False] * 4 == [move.goal for move in moves]


def test_dwell_is_at_minus_the_previous_move_also_in_and_out_of_a_setback() -> None:
    moving = ab(setbacks=[setback("s", is_("x.s"), until=is_("x.up"))], exits=(exit_("out", is_("x.out")),))
    events = [BEGIN, event("1d", "x.s"), event("3d", "x.up"), event("6d", "x.b"), event("10d", "x.out")]

    assert [None, 86400, 2 * 86400, 3 * 86400, 4 * 86400] == [move.dwell_s for move in records(moving, events)]


def test_a_recovery_whose_event_is_older_than_the_setback_bears_the_time_of_the_setback() -> None:
    moving = ab(setbacks=[setback("s", is_("x.s"), until=is_("x.up"))])

    moves = records(moving, [BEGIN, event("2d", "x.s"), event("1d12h", "x.up")])

    assert [("2d a -> s", False), ("2d s -> a", True)] == [(line(move), move.late) for move in moves[1:]]


def test_a_setback_whose_event_is_older_than_the_move_before_bears_the_time_of_that_move() -> None:
    moving = ab(setbacks=[setback("s", is_("x.s"), until="never")])

    moves = records(moving, [BEGIN, event("2d", "x.b"), event("1d12h", "x.s")])

    assert [("2d a -> b", False), ("2d b -> s", True)] == [(line(move), move.late) for move in moves[1:]]


def test_an_event_as_old_as_the_previous_record_is_not_late() -> None:
    moves = records(ab(), [BEGIN, event("0d", "x.b")])

    assert [("0d none -> a", False), ("0d a -> b", False)] == [(line(move), move.late) for move in moves]


def test_the_first_move_of_a_later_run_may_be_older_than_the_exit_and_is_late() -> None:
    again = ab(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(0))

    moves = records(again, [BEGIN, event("2d", "x.out"), event("1d12h", "begin.now")])

    assert [("2d a -> out", False), ("1d12h none -> a", True)] == [(line(move), move.late) for move in moves[1:]]


def test_a_run_that_begins_before_the_exit_may_end_before_it_too() -> None:
    """``at`` is bounded by the previous record of the run, not of another run."""
    again = ab(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(0))

    moves = records(again, [BEGIN, event("2d", "x.out"), event("1d12h", "begin.now"), event("1d18h", "x.b")])

    assert ["1d12h none -> a", "1d18h a -> b"] == [line(move) for move in moves[2:]]


def test_a_cause_names_its_event_and_a_timer_its_kind_and_due_time() -> None:
    marked = journey(
        [stage("a", is_("begin.now")), stage("b", clicked())],
        setbacks=[setback("s", d.Quiet(span("3d")), until="never")],
    )
    hit = click("1d", "https://example.com/p?token=1#x", campaign="x", message="m", id="e-7")

    _, moved, struck = records(marked, [BEGIN, hit], until="9d")

    assert moved.cause is not None and moved.timer is None
    cause = moved.cause
    assert ("e-7", "email.clicked", "x", "m", "https://example.com/p", False) == (
        cause.id,
        cause.type,
        cause.campaign,
        cause.message,
        cause.url,
        cause.machine,
    )
    assert struck.timer is not None and struck.cause is None
    assert ("quiet", "2026-03-06T00:00:00.000Z") == (struck.timer.name, struck.timer.due)


@pytest.mark.parametrize(
    ("name", "when"),
    [
        pytest.param("no_click", d.NoClick(1, span("1d")), id="no_click"),
        pytest.param("quiet", d.Quiet(span("1d")), id="quiet"),
        pytest.param("missed", d.Missed(is_("begin.now"), is_("x.y"), span("1d")), id="missed"),
        pytest.param("stuck", d.Stuck(span("1d")), id="stuck"),
        pytest.param("after", d.After(span("1d")), id="after"),
    ],
)
def test_each_timer_goes_by_the_name_of_its_condition(name: str, when: d.Condition) -> None:
    begun = journey(
        [stage("a", d.AnyOf((is_("begin.now"), is_("email.delivered"))))], setbacks=[setback("s", when, until="never")]
    )

    moves = records(begun, flat([BEGIN, sent("0d", "x")]), until="5d")

    assert [(None, ENTERED), (name, "1d a -> s")] == [(move.timer and move.timer.name, line(move)) for move in moves]


def test_the_clock_of_a_partition_is_the_largest_time_so_far() -> None:
    ending = ab(exits=(exit_("expired", d.After(span("2d"))),))
    partition = Partition(ending)

    partition.batch([BEGIN, event("1d", "x.other", contact="z"), event("12h", "x.other", contact="z")])

    assert START + span("1d") == partition.clock
