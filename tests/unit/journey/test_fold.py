from __future__ import annotations

from typing import Any

import pytest
from tests.scenarios.story import START, Partition, event, exit_, is_, journey, line, span, stage

from stagepost.events import DAY
from stagepost.journey import definition as d
from stagepost.journey import fold as folding
from stagepost.journey.compile import compile_program
from stagepost.journey.fold import NEVER, UNKNOWN, Fold, TimerIndex
from stagepost.journey.result import Outcome
from stagepost.journey.state import ContactState, next_due

AFTER = journey([stage("a", is_("begin.now"))], exits=(exit_("out", d.After(span("2d"))),))


def began(*contacts: str) -> Partition:
    partition = Partition(AFTER)
    partition.batch([event("0d", "begin.now", contact=contact) for contact in contacts])
    return partition


def fold_of(partition: Partition) -> Fold:
    return Fold(partition.program, clock=partition.clock, state_of=partition.states.get, timers=partition.timers)


def moved(steps: list[Any]) -> list[tuple[str, str]]:
    return [(contact, line(move)) for contact, step in steps for move in step.moves]


def test_the_index_gives_contacts_in_order_of_due_and_contact() -> None:
    index = TimerIndex()
    for contact, due in [("b", 5), ("a", 5), ("c", 3), ("d", 9)]:
        index.set(contact, due)

    assert ["c", "a", "b"] == index.due_by(5)
    assert (3, "c") == index.peek()
    assert 4 == len(index)


def test_the_index_forgets_what_was_set_anew_or_taken_away() -> None:
    index = TimerIndex()
    index.set("a", 3)
    index.set("b", 4)
    index.set("a", 7)
    index.set("b", None)

    assert ((7, "a"), ["a"], 7, None) == (index.peek(), index.due_by(9), index.due("a"), index.due("b"))


def test_the_index_stays_as_small_as_its_contacts() -> None:
    index = TimerIndex()
    for due in range(10_000):
        index.set("a", due)

    assert len(index._heap) < 100
    assert (9_999, "a") == index.peek()


def test_of_too_many_the_index_keeps_those_that_are_due_first_and_says_up_to_when() -> None:
    index = TimerIndex()
    for contact, due in [("a", 5), ("b", 1), ("c", 2), ("d", 2), ("e", 9)]:
        index.set(contact, due)
    index.shorten(5)
    assert (5, NEVER) == (len(index), index.until)
    index.shorten(4)
    assert (["b", "c", "d"], 2) == (index.due_by(100), index.until)

    index.set("f", 3)
    index.set("c", 4)
    index.set("g", 2)
    assert ["b", "d", "g"] == index.due_by(100), "later ones are not kept: who learns them finds them all"


def test_the_index_learns_what_is_due_behind_what_it_knows() -> None:
    index = TimerIndex(UNKNOWN)
    index.set("early", 3)
    assert ([], UNKNOWN) == (index.due_by(100), index.until)
    index.learn({"early": 3, "b": 4}, 4)
    index.set("b", 7)
    index.learn({"b": 7, "c": 9}, NEVER)
    assert (["early", "b", "c"], NEVER) == (index.due_by(100), index.until)


def test_contacts_that_are_due_at_the_same_time_stay_together() -> None:
    index = TimerIndex()
    for number in range(10):
        index.set(f"c{number}", 5)
    index.shorten(4)
    assert (10, 5) == (len(index), index.until)


def test_dead_entries_before_the_first_live_one_can_be_forgotten() -> None:
    index = TimerIndex()
    for due in (3, 5, 7):
        index.set("a", due)
    index.tidy()

    assert [(7, "a")] == index._heap


def test_a_timer_that_began_within_the_fold_fires_as_soon_as_the_clock_passes_it() -> None:
    partition = began("early")
    fold = fold_of(partition)
    fold.event(event("1d", "other.thing", contact="x"), START + span("1d"))
    fold.event(event("0d12h", "begin.now", contact="late"), START + span("12h"))

    assert [("early", "2d a -> out")] == moved(
        fold.event(event("2d1h", "other.thing", contact="x"), START + span("2d1h"))
    )
    assert [("late", "2d12h a -> out")] == moved(
        fold.event(event("2d13h", "other.thing", contact="x"), START + span("2d13h"))
    )


def test_timers_passed_fire_before_the_event_each_in_a_step_of_its_own() -> None:
    fold = fold_of(began("y", "x"))

    steps = fold.event(event("3d", "begin.now", contact="z"), START + 3 * DAY)

    assert [("x", "2d a -> out"), ("y", "2d a -> out"), ("z", "3d none -> a")] == moved(steps)
    assert [None, None, Outcome.APPLIED] == [step.outcome for _, step in steps]


def test_what_is_due_exactly_at_the_clock_fires_only_when_run_to_it() -> None:
    fold = fold_of(began("x"))

    assert [] == moved(fold.event(event("2d", "x.other", contact="z"), START + 2 * DAY))
    assert [("x", "2d a -> out")] == moved(fold.run_to(START + 2 * DAY))
    assert [] == fold.run_to(START + 2 * DAY)


def test_a_fold_that_is_thrown_away_leaves_no_trace() -> None:
    partition = began("x", "y")
    before = dict(partition.states)

    for _ in range(2):
        fold = fold_of(partition)
        steps = fold.event(event("3d", "x.other", contact="x", id="same"), START + 3 * DAY)
        assert [("x", "2d a -> out"), ("y", "2d a -> out")] == moved(steps)

    assert before == partition.states
    assert (START + 2 * DAY, "x") == partition.timers.peek()
    assert START == partition.clock


def test_a_raise_leaves_the_fold_as_it_was_before_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule cannot raise as far as we know: the fault is planted, to see that neighbours would be unharmed."""
    fold = fold_of(began("x", "y"))
    real = folding.step_event

    def failing(program: Any, state: Any, event_: Any, at: int, clock: int) -> Any:
        if event_.type == "x.poison":
            raise RuntimeError("planted")
        return real(program, state, event_, at, clock)

    monkeypatch.setattr(folding, "step_event", failing)
    with pytest.raises(RuntimeError, match="planted"):
        fold.event(event("3d", "x.poison", contact="z"), START + 3 * DAY)

    assert (START, {}) == (fold.clock, fold.changed)
    assert [("x", "2d a -> out"), ("y", "2d a -> out"), ("z", "4d none -> a")] == moved(
        fold.event(event("4d", "begin.now", contact="z"), START + 4 * DAY)
    )


def test_a_timer_that_no_rule_answers_to_any_more_goes_without_a_trace() -> None:
    partition = began("x")
    fold = Fold(
        compile_program([journey([stage("a", is_("begin.now"))])]),
        clock=partition.clock,
        state_of=partition.states.get,
        timers=partition.timers,
    )

    assert [] == moved(fold.run_to(START + 3 * DAY))
    state = fold.changed["x"]
    assert state is not None
    assert next_due(state) is None


def test_an_erasure_marker_ends_at_last() -> None:
    partition = began("x")
    partition.batch([event("1d", "contact.erased", contact="x")])
    assert partition.states["x"] == ContactState(erased=START + DAY, due=START + 91 * DAY)

    partition.batch([event("92d", "x.other", contact="y")])

    assert partition.states["x"] is None
