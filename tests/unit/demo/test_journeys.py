from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stagepost.demo.stage import JOURNEYS
from stagepost.demo.supervisor import demo_journeys
from stagepost.demo.traffic import SPAN, Post, history, planted
from stagepost.engine.intake import read_event
from stagepost.engine.normalise_worker import NormaliseProcessor
from stagepost.engine.plan import Record, Topic
from stagepost.events import Event, Rejected, parse_rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.parse import parse_journey
from stagepost.journey.result import Outcome
from stagepost.journey.simulate import Simulation
from stagepost.journey.timeline import run_timelines

START = parse_rfc3339("2026-11-03T00:00:00Z")


def test_the_packaged_journeys_are_without_any_problem_and_their_tests_pass() -> None:
    files: list[Path] = sorted(JOURNEYS.glob("*.yaml"))
    parsed = [parse_journey(file.read_text(encoding="utf-8"), file.name) for file in files]
    assert files and [] == [str(problem) for result in parsed for problem in result.problems]
    assert all(result.passed for journey in demo_journeys() for result in run_timelines(journey))


def test_the_history_moves_contacts_in_every_way_and_its_planted_events_are_told_apart() -> None:
    made = history(3, START)
    simulation = Simulation(compile_program(demo_journeys()))
    kinds = Counter(move.kind for move in simulation.run(_read(made.posts)))
    assert {"enter", "advance", "setback", "recover", "stall", "exit", "reenter"} == set(kinds)
    expected = planted(made.posts)
    assert (expected.duplicated, expected.late) == (
        simulation.outcomes[Outcome.DUPLICATE],
        simulation.outcomes[Outcome.LATE],
    )


def _read(posts: Iterable[Post]) -> list[tuple[Event, int]]:
    """Events as the roles would read them, in the order of publication."""
    processor = NormaliseProcessor({}, b"0123456789abcdef")
    found = []
    for number, post in enumerate(posts):
        values = [post.value]
        if post.topic == Topic.RAW:
            record = Record(Topic.RAW, 0, number, START + SPAN, post.key, post.value, post.headers)
            emits = processor.plan(0, 1, [record], number + 1).emits
            values = [emit.value for emit in emits if emit.topic == Topic.EVENTS]
        for value in values:
            read = read_event(value, broker_time=START + SPAN)
            if not isinstance(read, Rejected):
                found.append((read.event, read.at))
    return found
