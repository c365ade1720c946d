"""Change of a definition (journeys.md 4), sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import pytest
from tests.scenarios.story import (
    START,
    click,
    clicked,
    event,
    exit_,
    flat,
    is_,
    journey,
    line,
    setback,
    span,
    stage,
    unsubscribed,
    with_bots,
)

from stagepost.events import Event, Transition, parse_rfc3339
from stagepost.journey import definition as d
from stagepost.journey.compile import COMMON_LENS, compile_program
from stagepost.journey.simulate import Simulation
from stagepost.journey.state import number

JOIN = is_("contact.subscribed")
BUY = is_("order.completed")
Policy = Literal["keep", "reevaluate", "finish"]


class Story:
    """A simulation whose definitions change on the way."""

    def __init__(self, *journeys: d.Journey) -> None:
        self.simulation = Simulation(compile_program(journeys))
        self.moves: list[Transition] = []

    def then(self, events: Iterable[Event | list[Event]] = (), until: str | None = None) -> list[str]:
        """What these events move."""
        pairs = [(each, parse_rfc3339(each.occurred_at)) for each in flat(events)]
        moves = list(self.simulation.run(pairs, START + span(until) if until else None))
        self.moves += moves
        return [line(move) for move in moves]

    def change(self, *journeys: d.Journey) -> list[str]:
        """What the change moves."""
        moves = self.simulation.change(journeys)
        self.moves += moves
        return [line(move) for move in moves]


def version(name: str, given: d.Journey, on_change: Policy = "keep") -> d.Journey:
    return replace(given, version=name, on_change=on_change)


LADDER = version(
    "old",
    journey(
        [stage("joined", JOIN), stage("reader", clicked()), stage("fan", clicked(times=3)), stage("buyer", BUY)],
        exits=(exit_("gone", is_("email.complained")),),
    ),
)


def without(given: d.Journey, *names: str) -> d.Journey:
    return replace(given, stages=tuple(s for s in given.stages if s.name not in names))


def test_contacts_keep_their_stage_by_name() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d")])
    changed = replace(LADDER, stages=(stage("visitor", is_("page.seen")), *LADDER.stages))
    assert story.change(version("new", changed)) == []
    assert story.then([event("2d", "order.completed")]) == ["2d reader -> buyer"]
    assert [move.version for move in story.moves] == ["old", "old", "new"]


def test_a_stage_that_is_gone_maps_to_the_nearest_lower_one_that_exists() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d"), click("3d")])
    assert story.change(version("new", without(LADDER, "reader", "fan"))) == ["3d fan -> joined"]
    (move,) = story.moves[3:]
    assert (move.kind, move.rule, move.cause, move.timer) == ("migrate", "stages.joined", None, None)
    assert (move.best, move.move, move.dwell_s, move.version) == ("joined", 4, 0, "new")


def test_below_the_lowest_stage_there_is_only_the_first() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    assert story.change(version("new", without(LADDER, "joined"))) == ["0d joined -> reader"]


def test_the_order_that_counts_for_lower_is_the_old_one() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d"), click("3d")])
    turned = replace(LADDER, stages=(LADDER.stages[3], LADDER.stages[1], LADDER.stages[0]))
    assert story.change(version("new", turned)) == ["3d fan -> reader"]


def test_a_setback_that_is_gone_gives_back_the_best_stage() -> None:
    dormant = setback("dormant", d.Quiet(span("5d")), until="never")
    story = Story(version("old", replace(LADDER, setbacks=(with_sources(dormant),))))
    story.then([event("0d", "contact.subscribed"), click("1d")], until="7d")
    assert story.change(version("new", LADDER)) == ["7d dormant -> reader"]
    assert story.then([event("8d", "order.completed")]) == ["8d reader -> buyer"]


def test_a_setback_that_is_still_there_stays() -> None:
    dormant = with_sources(setback("dormant", d.Quiet(span("5d")), until=clicked()))
    story = Story(version("old", replace(LADDER, setbacks=(dormant,))))
    story.then([event("0d", "contact.subscribed"), click("1d")], until="7d")
    assert story.change(version("new", replace(without(LADDER, "fan"), setbacks=(dormant,)))) == []
    assert story.then([click("8d")]) == ["8d dormant -> reader"]


def test_counts_are_kept_for_unchanged_conditions() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d")])
    assert story.change(version("new", replace(LADDER, exits=()))) == []
    assert story.then([click("3d")]) == ["3d reader -> fan"]


def test_a_changed_condition_counts_anew() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d")])
    stages = [*LADDER.stages[:2], stage("fan", clicked(times=2)), LADDER.stages[3]]
    assert story.change(version("new", replace(LADDER, stages=tuple(stages)))) == []
    assert story.then([click("3d"), click("4d")]) == ["4d reader -> fan"]


def test_timers_are_those_of_the_new_definition_counted_from_what_is_stored() -> None:
    expired = exit_("expired", d.After(span("10d")))
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    assert story.change(version("new", replace(LADDER, exits=(expired,)))) == []
    assert story.then(until="12d") == ["10d joined -> expired"]


def test_a_timer_of_the_new_definition_that_is_over_fires_at_once() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")], until="12d")
    expired = exit_("expired", d.After(span("10d")))
    assert story.change(version("new", replace(LADDER, exits=(expired,)))) == ["10d joined -> expired"]


def test_a_timer_that_is_gone_does_not_fire() -> None:
    story = Story(version("old", replace(LADDER, exits=(exit_("expired", d.After(span("10d"))),))))
    story.then([event("0d", "contact.subscribed")])
    assert story.change(version("new", LADDER)) == []
    assert story.then(until="20d") == []


def test_keep_moves_nobody_whose_place_is_still_there() -> None:
    story = Story(version("old", without(LADDER, "reader")))
    story.then([event("0d", "contact.subscribed"), click("1d")])
    shares_its_count = stage("keen", clicked(times=3))
    changed = replace(LADDER, stages=(LADDER.stages[0], shares_its_count))
    story.then([click("2d"), click("3d")])
    assert story.moves[-1].to == "fan"
    assert story.change(version("new", changed)) == ["3d fan -> joined"]


def test_reevaluate_looks_at_all_conditions_by_what_is_stored() -> None:
    story = Story(version("old", without(LADDER, "reader")))
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d"), click("3d")])
    changed = replace(LADDER, stages=(LADDER.stages[0], stage("keen", clicked(times=3))))
    assert story.change(version("new", changed, "reevaluate")) == ["3d fan -> joined", "3d joined -> keen"]
    assert [move.kind for move in story.moves[-2:]] == ["migrate", "advance"]
    assert (story.moves[-1].cause, story.moves[-1].timer, story.moves[-1].rule) == (None, None, "stages.keen")


def counting(times: int, **more: object) -> d.Journey:
    return journey([stage("joined", JOIN), stage("keen", clicked(times=times, **more))])  # type: ignore[arg-type]


def clicks(*days: int) -> list[Event]:
    return [click(f"{day}d", campaign=f"c{day}") for day in days]


@pytest.mark.parametrize("more", [{}, {"within": "9d"}, {"per": True}, {"within": "9d", "per": True}])
def test_reevaluate_goes_on_with_a_count_of_which_only_the_number_is_another(more: dict[str, object]) -> None:
    lower = Story(version("old", counting(5, **more)))
    lower.then([event("0d", "contact.subscribed"), *clicks(1, 2, 3)])
    assert lower.change(version("new", counting(3, **more), "reevaluate")) == ["3d joined -> keen"]
    higher = Story(version("old", counting(3, **more)))
    higher.then([event("0d", "contact.subscribed"), *clicks(1, 2)])
    assert higher.change(version("new", counting(4, **more), "reevaluate")) == []
    assert higher.then(clicks(3, 4)) == ["4d joined -> keen"]
    once = Story(version("old", counting(3, **more)))
    once.then([event("0d", "contact.subscribed"), *clicks(1)])
    assert once.change(version("new", counting(1, **more), "reevaluate")) == ["1d joined -> keen"]
    twice = Story(version("old", counting(1, **more)))
    twice.then([event("0d", "contact.subscribed"), *clicks(1)])
    assert twice.change(version("new", counting(2, **more), "reevaluate")) == []


def test_of_two_counts_of_the_same_events_the_one_that_asked_for_more_goes_on() -> None:
    ladder = journey([stage("joined", JOIN), stage("reader", clicked(times=2)), stage("keen", clicked(times=9))])
    story = Story(version("old", ladder))
    story.then([event("0d", "contact.subscribed"), *clicks(1, 2, 3, 4)])
    lower = journey([stage("joined", JOIN), stage("reader", clicked(times=2)), stage("keen", clicked(times=4))])
    assert story.change(version("new", lower, "reevaluate")) == ["4d reader -> keen"]


def test_keep_counts_anew_where_the_number_is_another() -> None:
    story = Story(version("old", counting(5)))
    story.then([event("0d", "contact.subscribed"), *clicks(1, 2, 3)])
    assert story.change(version("new", counting(3))) == []
    assert story.then(clicks(4, 5, 6)) == ["6d joined -> keen"]


@pytest.mark.parametrize("other", [{"within": "30d"}, {"per": True}, {"campaign": "c*"}])
def test_reevaluate_counts_other_events_anew(other: dict[str, object]) -> None:
    story = Story(version("old", counting(5)))
    story.then([event("0d", "contact.subscribed"), *clicks(1, 2, 3)])
    assert story.change(version("new", counting(3, **other), "reevaluate")) == []


def test_reevaluate_ends_runs_whose_new_exit_holds_already() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), event("1d", "email.unsubscribed", scope="all")])
    left = replace(LADDER, exits=(exit_("left", unsubscribed("all")),))
    kept = Story(LADDER)
    kept.then([event("0d", "contact.subscribed"), event("1d", "email.unsubscribed", scope="all")])
    assert kept.change(version("new", left)) == []
    assert story.change(version("new", left, "reevaluate")) == ["1d joined -> left"]


def test_finish_lets_runs_go_on_under_the_version_that_they_began_with() -> None:
    story = Story(replace(LADDER, reenter=d.Reenter(0)))
    story.then(
        [event("0d", "contact.subscribed"), event("0d", "contact.subscribed", contact="late.starter", test=True)]
    )
    shorter = version("new", replace(without(LADDER, "reader", "fan"), reenter=d.Reenter(0)), "finish")
    assert story.change(shorter) == []
    assert story.then([click("1d"), event("1d", "contact.subscribed", contact="n"), click("2d", contact="n")]) == [
        "1d joined -> reader",
        "1d none -> joined",
    ]
    assert story.then([event("3d", "email.complained")]) == ["3d reader -> gone"]
    assert story.then([event("4d", "contact.subscribed")]) == ["4d none -> joined"]
    assert story.then([click("5d")]) == []
    assert [move.version for move in story.moves] == ["old", "old", "new", "old", "new"]


def test_timers_of_runs_that_finish_are_those_of_their_version() -> None:
    expired = exit_("expired", d.After(span("10d")))
    story = Story(version("old", replace(LADDER, exits=(expired,))))
    story.then([event("0d", "contact.subscribed")])
    assert story.change(version("new", LADDER, "finish")) == []
    story.then([event("1d", "contact.subscribed", contact="n")])
    assert story.then(until="20d") == ["10d joined -> expired"]


def test_a_version_on_which_nobody_finishes_is_dropped_at_the_next_change() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    story.change(version("new", without(LADDER, "fan"), "finish"))
    assert [name for name, _ in story.simulation.program.older] == ["j"]
    story.then([event("1d", "email.complained")])
    story.change(version("newer", without(LADDER, "reader"), "finish"))
    assert story.simulation.program.older == {}


def test_keep_after_finish_brings_everybody_over() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d")])
    story.change(version("new", without(LADDER, "fan"), "finish"))
    story.then([event("2d", "contact.subscribed", contact="n"), click("2d", contact="n")])
    assert story.change(version("newest", without(LADDER, "reader", "fan"))) == [
        "2d reader -> joined",
        "2d reader -> joined",
    ]
    assert story.simulation.program.older == {}


def test_a_journey_that_is_gone_moves_nobody_and_comes_back_as_it_was_left() -> None:
    expiring = version("old", replace(LADDER, exits=(exit_("expired", d.After(span("10d"))),)))
    story = Story(expiring)
    story.then([event("0d", "contact.subscribed")])
    assert story.change() == []
    assert story.then([click("1d")], until="8d") == []
    assert story.change(expiring) == []
    assert story.then([click("9d")], until="20d") == ["9d joined -> reader", "10d reader -> expired"]


def test_a_new_journey_begins_with_the_next_events() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    second = version("v", journey([stage("seen", clicked())], name="k"))
    assert story.change(LADDER, second) == []
    assert story.then([click("1d")]) == ["1d joined -> reader", "1d none -> seen"]


def test_a_journey_that_asks_for_consent_from_now_on_forgets_the_engagement_of_those_who_gave_none() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d")])
    story.change(version("new", replace(LADDER, consent=d.Consent("tracking"))))
    story.then([event("3d", "contact.consent_given", data={"purpose": "tracking"})])
    assert story.then([click("4d"), click("5d")]) == []
    assert story.then([click("6d")]) == ["6d reader -> fan"]


@pytest.mark.parametrize("policy", ["keep", "reevaluate", "finish"])
def test_a_change_to_the_same_meaning_moves_nobody(policy: Policy) -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d")])
    assert story.change(version("new", LADDER, policy)) == []
    assert story.then([click("3d"), event("4d", "order.completed")]) == ["3d reader -> fan", "4d fan -> buyer"]


def with_sources(given: d.Setback) -> d.Setback:
    return replace(given, sources=tuple(s.name for s in LADDER.stages))


def test_a_timer_that_ran_out_while_its_journey_was_gone_fires_when_it_comes_back() -> None:
    expiring = version("old", replace(LADDER, exits=(exit_("expired", d.After(span("10d"))),)))
    story = Story(expiring)
    story.then([event("0d", "contact.subscribed")])
    story.change()
    assert story.then([click("1d")], until="12d") == []
    assert story.change(expiring) == ["10d joined -> expired"]


def test_runs_go_on_finishing_while_other_journeys_change() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    shorter = version("new", without(LADDER, "reader"), "finish")
    story.change(shorter)
    story.change(shorter, version("v", journey([stage("seen", is_("page.seen"))], name="k")))
    assert story.then([click("1d")]) == ["1d joined -> reader"]


def test_who_was_brought_over_finishes_on_what_he_was_brought_to() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed")])
    story.change(version("second", without(LADDER, "fan"), "finish"))
    story.change(version("third", without(LADDER, "fan")))
    story.change(version("fourth", without(LADDER, "reader", "fan"), "finish"))
    assert story.then([click("1d")]) == ["1d joined -> reader"]
    assert story.moves[-1].version == "third"


def test_who_has_left_finishes_on_nothing() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed", contact=each) for each in ("c", "n")])
    story.then([event("1d", "email.complained")])
    story.change(version("new", without(LADDER, "fan"), "finish"))
    states = story.simulation.states.values()
    assert [state.runs["j"].version for state in states if state is not None] == [0, number("old")]


def test_an_erased_contact_is_left_alone() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), event("1d", "contact.erased")])
    before = story.simulation.states["c"]
    story.change(version("new", without(LADDER, "fan")))
    assert story.simulation.states["c"] == before


def test_moves_of_a_change_come_in_order_of_their_journeys() -> None:
    second = version("old", journey([stage("low", JOIN), stage("seen", clicked())], name="a"))
    story = Story(LADDER, second)
    story.then([event("0d", "contact.subscribed"), click("1d")])
    story.change(version("new", without(LADDER, "reader")), version("new", replace(second, stages=second.stages[:1])))
    assert [(move.journey, move.kind) for move in story.moves[-2:]] == [("a", "migrate"), ("j", "migrate")]


def test_what_is_no_engagement_still_counts_when_consent_is_asked_for() -> None:
    twice = version("old", journey([stage("joined", JOIN), stage("reached", is_("email.delivered", times=2))]))
    story = Story(twice)
    story.then([event("0d", "contact.subscribed"), event("1d", "email.delivered", campaign="a")])
    story.change(version("new", replace(twice, consent=d.Consent("tracking"))))
    assert story.then([event("2d", "email.delivered", campaign="b")]) == ["2d joined -> reached"]


def test_another_goal_that_was_passed_long_ago_is_not_reached_again() -> None:
    story = Story(LADDER)
    story.then([event("0d", "contact.subscribed"), click("1d")])
    story.change(version("new", replace(LADDER, goal=d.Goal("reader"))))
    story.then([event("2d", "order.completed")])
    assert [(move.to, move.goal) for move in story.moves] == [("joined", False), ("reader", False), ("buyer", False)]


def test_the_same_goal_is_reached_once_though_the_order_of_stages_changes() -> None:
    aims = version("old", replace(LADDER, goal=d.Goal("reader")))
    story = Story(aims)
    story.then([event("0d", "contact.subscribed"), click("1d"), click("2d"), click("3d")])
    joined, reader, fan, buyer = LADDER.stages
    story.change(version("new", replace(aims, stages=(joined, fan, reader, buyer))))
    story.then([event("4d", "order.completed")])
    assert [(move.to, move.goal) for move in story.moves] == [
        ("joined", False),
        ("reader", True),
        ("fan", False),
        ("buyer", False),
    ]


def test_engagement_as_a_journey_saw_it_that_judged_machines_otherwise_is_gone() -> None:
    trusting = with_bots(LADDER, None)
    story = Story(trusting)
    story.then([event("0d", "contact.subscribed"), click("1d", campaign="a")])
    story.change(version("new", with_bots(LADDER, d.Bots())))
    state = story.simulation.states["c"]
    assert state is not None
    assert list(state.lenses) == [COMMON_LENS]


def test_a_run_finishes_on_the_version_that_it_began_with_over_several_changes() -> None:
    def bought_by(name: str, type_: str) -> d.Journey:
        return version(name, journey([stage("joined", JOIN), stage("buyer", is_(type_))]), "finish")

    story = Story(bought_by("one", "order.completed"))
    story.then([event("0d", "contact.subscribed")])
    assert story.change(bought_by("two", "order.paid")) == []
    assert story.change(bought_by("three", "invoice.paid")) == []
    assert story.then([event("1d", "order.paid"), event("2d", "invoice.paid")]) == []
    assert story.then([event("3d", "order.completed")]) == ["3d joined -> buyer"]
    assert [move.version for move in story.moves] == ["one", "one"]


@pytest.mark.parametrize(("reach", "reached"), [("buyer", False), ("joined", True)])
def test_a_goal_that_was_reached_in_time_is_kept_only_if_the_new_one_is_reached_too(reach: str, reached: bool) -> None:
    story = Story(version("old", replace(LADDER, goal=d.Goal("reader", span("9d")))))
    story.then([event("0d", "contact.subscribed"), click("1d")])
    story.change(version("new", replace(LADDER, goal=d.Goal(reach))))
    state = story.simulation.states["c"]
    assert state is not None
    assert state.runs["j"].goal is reached
