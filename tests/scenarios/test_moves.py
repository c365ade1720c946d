"""journeys.md 3: how a contact moves, sentence by sentence, as timelines."""

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
    unsubscribed,
)

from stagepost.events import Credit, SendRef, TimerRef
from stagepost.journey import definition as d

BEGIN = event("0d", "begin.now")
ENTERED = "0d none -> a"


def abc(**more: Any) -> d.Journey:
    stages = [stage("a", is_("begin.now")), stage("b", is_("x.b")), stage("c", is_("x.c"))]
    return journey(stages, **more)


def bad(**more: Any) -> d.Journey:
    """Stages a, b, c; setbacks ``s`` at x.s and ``t`` at x.t, ended by x.up."""
    return abc(setbacks=[setback("s", is_("x.s")), setback("t", is_("x.t"))], recover=is_("x.up"), **more)


def days(*types: str) -> list[Any]:
    return [event(f"{day}d", type_) for day, type_ in enumerate(types)]


MOVES = [
    ("contacts move up and may skip", abc(), days("begin.now", "x.c", "x.b"), [ENTERED, "1d a -> c"]),
    (
        "enter any: at the highest stage that holds",
        journey([stage("a", is_("x.one")), stage("b", is_("x.one")), stage("c", is_("x.two"))]),
        days("x.one"),
        ["0d none -> b"],
    ),
    (
        "enter first: only at the first stage",
        abc(enter="first"),
        days("x.c", "begin.now", "x.c"),
        ["1d none -> a", "2d a -> c"],
    ),
    (
        "exits come before setbacks, recoveries and advances",
        bad(exits=(exit_("out", d.AnyOf((is_("x.s"), is_("x.b")))),)),
        days("begin.now", "x.s"),
        [ENTERED, "1d a -> out"],
    ),
    (
        "the first exit in the list that holds",
        abc(exits=(exit_("one", is_("x.out", times=2)), exit_("two", is_("x.out")), exit_("three", is_("x.out")))),
        days("begin.now", "x.out"),
        [ENTERED, "1d a -> two"],
    ),
    ("exits and setbacks need a run", bad(exits=(exit_("out", is_("x.out")),)), days("x.out", "x.s"), []),
    (
        "setbacks: the last in the list that holds",
        abc(setbacks=[setback("s", is_("x.s"), until="never"), setback("t", is_("x.s"), until="never")]),
        days("begin.now", "x.s"),
        [ENTERED, "1d a -> t"],
    ),
    (
        "a setback must stand later in the list than the present one",
        bad(),
        days("begin.now", "x.t", "x.s", "x.t"),
        [ENTERED, "1d a -> t"],
    ),
    (
        "a worse setback follows a milder one",
        bad(),
        days("begin.now", "x.s", "x.t"),
        [ENTERED, "1d a -> s", "2d s -> t"],
    ),
    (
        "from looks at the stage that the contact has",
        abc(setbacks=[setback("s", is_("x.s"), ["b"], until="never")]),
        days("begin.now", "x.s", "x.b", "x.s"),
        [ENTERED, "2d a -> b", "3d b -> s"],
    ),
    (
        "from looks at the stage before the present setback",
        abc(setbacks=[setback("s", is_("x.s"), until="never"), setback("t", is_("x.t"), ["b"], until="never")]),
        days("begin.now", "x.s", "x.t"),
        [ENTERED, "1d a -> s"],
    ),
    (
        "default from: every stage below the goal's",
        bad(goal=d.Goal("b")),
        days("begin.now", "x.b", "x.s"),
        [ENTERED, "1d a -> b"],
    ),
    (
        "a recovery goes back to the best stage",
        bad(),
        days("begin.now", "x.b", "x.s", "x.up"),
        [ENTERED, "1d a -> b", "2d b -> s", "3d s -> b"],
    ),
    (
        "a recovery goes to the highest stage that holds, chosen among all",
        journey(
            [stage("a", is_("begin.now")), stage("b", d.AllOf((is_("x.b"), is_("x.s"))))],
            setbacks=[setback("s", is_("x.s"), until=is_("x.up"))],
        ),
        days("begin.now", "x.b", "x.s", "x.up"),
        [ENTERED, "2d a -> s", "3d s -> b"],
    ),
    (
        "until counts from the setback on",
        abc(setbacks=[setback("s", is_("x.s"), until=is_("x.up", times=2))]),
        days("begin.now", "x.up", "x.s", "x.up", "x.up"),
        [ENTERED, "2d a -> s", "4d s -> a"],
    ),
    (
        "a worse setback begins the count of its own until anew",
        abc(setbacks=[setback("s", is_("x.s")), setback("t", is_("x.t"))], recover=is_("x.up", times=2)),
        days("begin.now", "x.s", "x.up", "x.t", "x.up", "x.up"),
        [ENTERED, "1d a -> s", "3d s -> t", "5d t -> a"],
    ),
    (
        "an advance ends a setback",
        bad(),
        days("begin.now", "x.s", "x.b", "x.s"),
        [ENTERED, "1d a -> s", "2d s -> b", "3d b -> s"],
    ),
    (
        "an advance starts above the best stage, also out of a setback",
        bad(),
        days("begin.now", "x.b", "x.s", "x.b"),
        [ENTERED, "1d a -> b", "2d b -> s"],
    ),
    (
        "until never: only an exit or a worse setback ends it",
        abc(
            setbacks=[setback("s", is_("x.s"), until="never"), setback("t", is_("x.t"), until="never")],
            recover=is_("x.up"),
            exits=(exit_("out", is_("x.out")),),
        ),
        days("begin.now", "x.s", "x.up", "x.b", "x.t", "x.c", "x.out"),
        [ENTERED, "1d a -> s", "4d s -> t", "6d t -> out"],
    ),
    (
        "reenter never is the default",
        abc(exits=(exit_("out", is_("x.out")),)),
        days("begin.now", "x.out", "begin.now"),
        [ENTERED, "1d a -> out"],
    ),
    (
        "reenter after D: at least D after the exit",
        abc(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(span("2d"))),
        [*days("begin.now", "x.out"), event("2d23h", "begin.now"), event("3d", "begin.now")],
        [ENTERED, "1d a -> out", "3d none -> a"],
    ),
    (
        "reenter never after some exits",
        abc(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(span("2d"), ("out",))),
        days("begin.now", "x.out", "x.b", "x.b", "x.b"),
        [ENTERED, "1d a -> out"],
    ),
    (
        "reenter always lets in on an event older than the exit",
        abc(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(0)),
        [BEGIN, event("2d", "x.out"), event("1d12h", "x.b")],
        [ENTERED, "2d a -> out", "1d12h none -> b"],
    ),
    (
        "a stall once per stay",
        journey([stage("a", is_("begin.now"), "3d"), stage("b", is_("x.b"), "2d")]),
        [BEGIN, event("5d", "x.b")],
        [ENTERED, "3d stall a", "5d a -> b", "7d stall b"],
    ),
    (
        "a stall leaves stuck as it is",
        journey([stage("a", is_("begin.now"), "3d")], setbacks=[setback("s", d.Stuck(span("5d")), until="never")]),
        [BEGIN],
        [ENTERED, "3d stall a", "5d a -> s"],
    ),
    (
        "a setback ends the stay, a recovery begins another",
        journey([stage("a", is_("begin.now"), "3d")], setbacks=[setback("s", is_("x.s"), until=is_("x.up"))]),
        [BEGIN, event("2d", "x.s"), event("10d", "x.up")],
        [ENTERED, "2d a -> s", "10d s -> a", "13d stall a"],
    ),
    (
        "exactly at the clock a timer does not fire before the event",
        abc(exits=(exit_("expired", d.After(span("2d"))),)),
        [BEGIN, event("2d", "x.b")],
        [ENTERED, "2d a -> b", "2d b -> expired"],
    ),
    (
        "timers that the clock has passed fire before the event",
        abc(exits=(exit_("expired", d.After(span("2d"))),)),
        [BEGIN, event("2d1s", "x.b")],
        [ENTERED, "2d a -> expired"],
    ),
    (
        "a late event may still exit when it is a withdrawal or a complaint",
        abc(exits=(exit_("out", is_("email.complained")),)),
        [BEGIN, event("10d", "x.other"), event("2d", "email.complained", campaign="x")],
        [ENTERED, "2d a -> out"],
    ),
    (
        "a late event moves nobody otherwise, but counts in conditions later on",
        abc(exits=(exit_("out", is_("x.out")),), setbacks=[setback("s", is_("x.s", times=2), until="never")]),
        [
            BEGIN,
            event("10d", "x.other"),
            event("2d", "x.out"),
            event("3d", "x.b"),
            event("4d", "x.s"),
            event("11d", "x.s"),
        ],
        [ENTERED, "11d a -> s"],
    ),
    (
        "within lateness an event is applied when it arrives",
        abc(),
        [BEGIN, event("2d", "x.b"), event("1d", "x.c")],
        [ENTERED, "2d a -> b", "2d b -> c"],
    ),
    (
        "exactly lateness old is not late",
        abc(lateness=span("1h")),
        [BEGIN, event("2d", "x.other"), event("1d23h", "x.b")],
        [ENTERED, "1d23h a -> b"],
    ),
    ("a test event does nothing", abc(), [event("0d", "begin.now", test=True)], []),
    (
        "a test event does not move the clock",
        abc(exits=(exit_("expired", d.After(span("2d"))),)),
        [BEGIN, event("5d", "x.b", test=True), event("1d", "x.b")],
        [ENTERED, "1d a -> b", "2d b -> expired"],
    ),
]


@pytest.mark.parametrize(("journey_", "events", "expected"), [pytest.param(*case[1:], id=case[0]) for case in MOVES])
def test_move(journey_: d.Journey, events: list[Any], expected: list[str]) -> None:
    assert expected == play(journey_, events, until="30d")


def test_records_of_one_event_go_by_journey_name() -> None:
    journeys = [abc(name="z"), abc(name="a"), abc(name="m")]

    assert ["a: 0d none -> a", "m: 0d none -> a", "z: 0d none -> a"] == play(journeys, [BEGIN])


def test_timers_fire_by_due_then_contact_then_journey_then_kind_then_rule_path() -> None:
    first = journey(
        [stage("a", is_("begin.now"))],
        name="first",
        setbacks=[
            setback("one", d.Stuck(span("1d")), until="never"),
            setback("two", d.Quiet(span("1d")), until="never"),
            setback("zed", d.Quiet(span("1d")), until="never"),
        ],
    )
    second = journey([stage("a", is_("begin.now"), "1d")], name="second")
    events = [event("0d", "begin.now", contact="y"), event("0d", "begin.now", contact="x")]

    partition = Partition(second, first)
    partition.batch(events)
    moves = partition.batch([event("2d", "x.other", contact="z")])

    assert [
        "x first: 1d a -> two",
        "x first: 1d two -> zed",
        "x second: 1d stall a",
        "y first: 1d a -> two",
        "y first: 1d two -> zed",
        "y second: 1d stall a",
    ] == [f"{move.contact} {line(move, journeys=True)}" for move in moves]


def test_at_is_never_before_the_previous_record_and_late_says_so() -> None:
    moves = records(abc(), [BEGIN, event("2d", "x.b"), event("1d12h", "x.c")])

    assert [("2d a -> b", False), ("2d b -> c", True)] == [(line(move), move.late) for move in moves[1:]]
    assert [None, 2 * 86400, 0] == [move.dwell_s for move in moves]


def test_a_stall_takes_a_move_number_bounds_at_and_leaves_the_dwell() -> None:
    stalling = journey([stage("a", is_("begin.now"), "3d"), stage("b", is_("x.b"))])

    moves = records(stalling, [BEGIN, event("3d1h", "x.other"), event("2d12h", "x.b")])

    assert [(1, "enter", "0d none -> a"), (2, "stall", "3d stall a"), (3, "advance", "3d a -> b")] == [
        (move.move, move.kind, line(move)) for move in moves
    ]
    assert [None, 3 * 86400, 3 * 86400] == [move.dwell_s for move in moves]
    assert ("a", "a", "stages.a", TimerRef("stall", moves[1].at)) == (
        moves[1].from_,
        moves[1].to,
        moves[1].rule,
        moves[1].timer,
    )


@pytest.mark.parametrize(
    ("goal", "events", "expected"),
    [
        pytest.param(
            d.Goal("b"), [BEGIN, event("9d", "x.b"), event("10d", "x.c")], [False, True, False], id="only once"
        ),
        pytest.param(d.Goal("b"), [BEGIN, event("9d", "x.c")], [False, True], id="or above"),
        pytest.param(d.Goal("b", span("9d")), [BEGIN, event("9d", "x.b")], [False, False], id="within is less than D"),
        pytest.param(
            d.Goal("b", span("9d")), [BEGIN, event("8d23h", "x.b")], [False, True], id="within D of the run's start"
        ),
    ],
)
def test_goal_marks_the_first_move_there_in_time(goal: d.Goal, events: list[Any], expected: list[bool]) -> None:
    assert expected == [move.goal for move in records(abc(goal=goal), events)]


def test_a_record_says_which_send_earned_it() -> None:
    send = {"campaign": "n-1", "message": "m-n-1"}
    events = [
        BEGIN,
        sent("1d", "n-1"),
        click("2d", "https://example.com/p?token=1", **send),
        event("3d", "x.b"),
        event("9d", "x.c"),
        event("9d1s", "x.out"),
    ]
    marked = abc(
        setbacks=[setback("s", clicked(), until=is_("x.b"))],
        exits=(exit_("out", is_("x.out")),),
    )

    moves = records(marked, events)

    clicked_at = moves[1].at
    assert [None, "direct", "last_click", "last_click", None] == [m.credit.how if m.credit else None for m in moves]
    assert Credit("n-1", "m-n-1", clicked_at, "direct") == moves[1].credit
    assert Credit("n-1", "m-n-1", clicked_at, "last_click") == moves[2].credit
    assert moves[1].cause is not None
    assert "https://example.com/p" == moves[1].cause.url
    assert SendRef("n-1", "m-n-1", "2026-03-03T00:00:00.000Z") == moves[-1].last_send


def test_credit_reaches_across_the_start_of_the_run_and_finds_the_click_before_a_disordered_event() -> None:
    events = [click("0d", campaign="x"), click("1d", campaign="y"), event("12h", "begin.now")]

    [move] = records(abc(), events)

    assert Credit("x", None, "2026-03-02T00:00:00.000Z", "last_click") == move.credit


def test_credit_finds_the_click_before_a_late_withdrawal() -> None:
    out = abc(exits=(exit_("out", unsubscribed("any")),))
    events = [BEGIN, *(click(at, campaign=at) for at in ("1d", "3d", "6d")), event("2d", "email.unsubscribed")]

    assert Credit("1d", None, "2026-03-03T00:00:00.000Z", "last_click") == records(out, events)[-1].credit


def test_the_last_send_is_the_newest_delivery_also_where_it_names_nothing() -> None:
    moves = records(abc(), [sent("0d", "x"), event("1h", "email.delivered"), event("2h", "begin.now")])

    assert SendRef(None, None, "2026-03-02T01:00:00.000Z") == moves[0].last_send


def test_rules_are_named_by_their_path_in_the_file() -> None:
    named = abc(
        setbacks=[setback("s", is_("x.s")), setback("t", unsubscribed("any"))],
        recover=is_("x.up"),
        exits=(exit_("out", is_("x.out")),),
    )
    events = days("begin.now", "x.s", "x.up", "email.unsubscribed", "email.resubscribed", "x.out")

    assert ["stages.a", "setbacks.s", "recover", "setbacks.t", "setbacks.t.until", "exits.out"] == [
        move.rule for move in records(named, events)
    ]


def test_runs_are_numbered_and_each_counts_its_moves() -> None:
    again = abc(exits=(exit_("out", is_("x.out")),), reenter=d.Reenter(0))

    moves = records(again, days("begin.now", "x.out", "begin.now", "x.b"))

    assert [("c/j/1", 1, "enter"), ("c/j/1", 2, "exit"), ("c/j/2", 1, "reenter"), ("c/j/2", 2, "advance")] == [
        (move.run, move.move, move.kind) for move in moves
    ]
    assert [None, 86400, None, 86400] == [move.dwell_s for move in moves]
    assert [None, "a", None, "a"] == [move.from_ for move in moves]
    assert 4 == len({move.id for move in moves})


def test_a_timer_record_names_timer_and_due_time_and_no_cause() -> None:
    moves = records(abc(exits=(exit_("expired", d.After(span("2d"))),)), [BEGIN], until="3d")

    assert (None, TimerRef("after", "2026-03-04T00:00:00.000Z")) == (moves[1].cause, moves[1].timer)


def test_journeys_move_on_their_own() -> None:
    one = abc(name="one", exits=(exit_("out", is_("x.b")),))
    two = abc(name="two")

    assert ["one: 0d none -> a", "two: 0d none -> a", "one: 1d a -> out", "two: 1d a -> b"] == play(
        [one, two], days("begin.now", "x.b")
    )


def test_an_erased_contact_stays_gone() -> None:
    partition = Partition(abc(setbacks=[setback("s", d.Stuck(span("1d")), until="never")]))

    moves = partition.batch(flat([BEGIN, event("1h", "contact.erased"), event("2d", "begin.now"), event("3d", "x.b")]))

    assert [ENTERED] == [line(move) for move in moves]
    assert ["applied", "applied", "suppressed", "suppressed"] == [s.outcome for _, s in partition.steps]
    assert ("j",) == partition.steps[1][1].erased
    kept = partition.states["c"]
    assert kept is not None
    assert (True, {}, b"") == (kept.erased > 0, kept.runs, kept.seen)
