"""``stagepost bench journey-step``: the pure step, in journeys of 5, 50 and 500 conditions; the stream touches 5.

The yardstick is the same loop without the step: it looks the contact up and puts its state back. States are those that
the stream itself has made, so that the figure is of contacts in the middle of their lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stagepost.bench import stream
from stagepost.bench.measure import Figure, Job, machine, measure, ratio
from stagepost.events import Event, parse_rfc3339
from stagepost.journey.compile import Program, compile_program
from stagepost.journey.state import ContactState, pack
from stagepost.journey.step import step_event

SIZES = (stream.FEWEST, 50, 500)
"""Conditions; beyond the first five, none that the stream can touch."""

CONTACTS = 5_000

Timed = list[tuple[Event, int]]
States = dict[str, ContactState | None]


@dataclass(frozen=True)
class StepReport:
    """What was measured: ``empty`` is the loop without the step; ``steps`` by number of conditions."""

    empty: Figure
    steps: dict[int, Figure]
    moved: float
    """Share of events that moved their contact."""
    state_bytes: float
    """Mean size of a contact's packed state at the end."""

    def as_json(self) -> dict[str, Any]:
        few = self.steps[SIZES[0]]
        return {
            "bench": "journey-step",
            "machine": machine(),
            "moved_share": round(self.moved, 3),
            "state_bytes": round(self.state_bytes),
            "empty": self.empty.as_json(),
            "steps": {
                str(size): {**figure.as_json(), "ratio_to_5": round(ratio(figure, few), 3)}
                for size, figure in self.steps.items()
            },
        }


def bench_journey_step(
    count: int, rounds: int, seed: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> StepReport:
    """Fold ``count`` events after as many that were folded before, untimed; ``rounds`` times for each size."""
    timed = [(event, parse_rfc3339(event.occurred_at)) for event in stream.events(2 * count, CONTACTS, seed, 30.0)]
    before, after = timed[:count], timed[count:]
    programs = {size: compile_program([stream.journey(size)]) for size in SIZES}
    warm = {size: _fold(program, before, {}) for size, program in programs.items()}
    jobs = [Job("empty", count, lambda: dict(warm[SIZES[0]]), lambda states: _empty(after, states))]
    jobs += [_job(size, programs[size], warm[size], after) for size in SIZES]
    empty, *steps = measure(jobs, rounds, progress)
    program, states = programs[SIZES[0]], dict(warm[SIZES[0]])
    moves = _moves(program, after, states)
    packed = [len(pack(state)) for state in states.values() if state is not None]
    return StepReport(empty, dict(zip(SIZES, steps, strict=True)), moves / count, sum(packed) / len(packed))


def _job(size: int, program: Program, states: States, timed: Timed) -> Job:
    def work(given: States) -> None:
        _fold(program, timed, given)

    return Job(f"{size} conditions", len(timed), lambda: dict(states), work)


def _fold(program: Program, timed: Timed, states: States) -> States:
    clock = 0
    for event, at in timed:
        clock = max(clock, at)
        contact = event.contact
        states[contact] = step_event(program, states.get(contact), event, at, clock).state
    return states


def _empty(timed: Timed, states: States) -> None:
    clock = 0
    for event, at in timed:
        clock = max(clock, at)
        contact = event.contact
        states[contact] = states.get(contact)


def _moves(program: Program, timed: Timed, states: States) -> int:
    clock, moved = 0, 0
    for event, at in timed:
        clock = max(clock, at)
        step = step_event(program, states.get(event.contact), event, at, clock)
        states[event.contact] = step.state
        moved += bool(step.moves)
    return moved
