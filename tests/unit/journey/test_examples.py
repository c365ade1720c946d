"""The ready-made journeys: valid, without warnings, with tests that pass and that every rule of theirs acts in."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagepost.events import Transition
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Journey, Timeline
from stagepost.journey.parse import parse_journey
from stagepost.journey.simulate import Simulation
from stagepost.journey.timeline import START, run_timelines, timeline_events

FOLDER = Path(__file__).parents[3] / "src" / "stagepost" / "journey" / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def example(name: str) -> Journey:
    parsed = parse_journey((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), name)
    assert parsed.journey is not None, parsed.problems
    assert () == parsed.problems
    return parsed.journey


def moves(journey: Journey, test: Timeline) -> list[Transition]:
    last = max(line.offset for line in (*test.events, *test.expect))
    return list(Simulation(compile_program([journey])).run(timeline_events(test.events), START + last))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_named_as_its_file_and_its_tests_pass(name: str) -> None:
    journey = example(name)
    assert name == journey.name
    assert [] == [(result.test.name, result.actual) for result in run_timelines(journey) if not result.passed]


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "webinar-nurture"])
def test_every_rule_of_an_example_acts_in_its_tests(name: str) -> None:
    """``webinar-nurture`` is left out: the README shows it whole, with one test to show what tests look like."""
    journey = example(name)
    made = [move for test in journey.tests for move in moves(journey, test)]
    rules = {place.path for place in (*journey.stages, *journey.setbacks, *journey.exits)}
    rules |= {
        rule.until_path
        for rule in compile_program([journey]).journeys[0].setbacks
        if rule.until is not None and rule.until_path != "recover"
    }
    rules |= {"recover"} if journey.recover is not None else set()
    assert set() == rules - {move.rule for move in made}
    stalling = {stage.name for stage in journey.stages if stage.stalls_after is not None}
    assert stalling == {move.to for move in made if move.kind == "stall"}
    assert journey.goal is None or any(move.goal for move in made)
    assert journey.reenter is None or any(move.kind == "reenter" for move in made)


def test_there_are_examples_for_each_purpose() -> None:
    assert {
        "first-journey",
        "lead-nurture",
        "onboarding",
        "webinar",
        "re-engagement",
        "product-interest",
        "email-signals",
    } <= set(EXAMPLES)


SIGNALS = [
    # requirement, example, rule, what the record of it must show
    ("S16 confirmed to stay", "re-engagement", "stages.staying", {}),
    ("S16 confirmed to stay, by subscription", "email-signals", "stages.staying", {"kind": "advance"}),
    ("S17 clicked a product link", "email-signals", "stages.curious", {"kind": "advance"}),
    ("S18 registered for the webinar", "webinar", "stages.registered", {"kind": "advance"}),
    ("S19 left one channel", "email-signals", "setbacks.channel_off", {"from_": "subscribed"}),
    ("S20 which link in which mail", "email-signals", "stages.whitepaper", {"campaign": "product-teaser"}),
    ("S21 ready for the next step", "email-signals", "stages.whitepaper", {"to": "whitepaper"}),
    ("S24 a pricing click is ready for sales", "lead-nurture", "stages.sales_ready", {"kind": "advance"}),
    ("S25 unsubscribed right after a campaign", "email-signals", "setbacks.misstep", {"last_campaign": "nurture-1"}),
    ("S26 no click across three campaigns", "product-interest", "setbacks.at_risk", {"timer": "no_click"}),
    ("S27 back on the path", "product-interest", "recover", {"from_": "at_risk", "kind": "recover"}),
    ("S30 a stall", "lead-nurture", "stages.evaluating", {"kind": "stall", "timer": "stall"}),
    ("S34 browsing to interested", "product-interest", "stages.interested", {"from_": "browsing", "to": "interested"}),
    ("S35 to engaged", "product-interest", "stages.engaged", {"from_": "interested", "to": "engaged"}),
    ("S36 left all mail: dormant", "product-interest", "setbacks.dormant", {"to": "dormant"}),
    ("S37 keeps clicking", "email-signals", "stages.keen", {"kind": "advance"}),
    ("S38 a slower stream", "email-signals", "setbacks.slow_stream", {"timer": "no_click"}),
    ("S39 several conditions for a stage", "lead-nurture", "stages.evaluating", {"kind": "advance"}),
]


@pytest.mark.parametrize(("name", "rule", "shows"), [s[1:] for s in SIGNALS], ids=[s[0] for s in SIGNALS])
def test_each_signal_of_an_email_is_a_rule_that_a_record_names(name: str, rule: str, shows: dict[str, str]) -> None:
    journey = example(name)
    found = [move for test in journey.tests for move in moves(journey, test) if move.rule == rule]
    assert [] != [move for move in found if all(shown(move, key) == value for key, value in shows.items())]


def shown(move: Transition, key: str) -> object:
    if key == "campaign":
        return move.cause.campaign if move.cause else None
    if key == "last_campaign":
        return move.last_send.campaign if move.last_send else None
    if key == "timer":
        return move.timer.name if move.timer else None
    return getattr(move, key)
