"""Laws of a change of definitions, over generated journeys and streams.

When a contact's turn comes changes nothing; nothing that was stored makes a change raise; a change to the same meaning
is none.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.properties.test_journey_laws import journeys, streams

from stagepost.events import Event, Transition, parse_rfc3339
from stagepost.journey import definition as d
from stagepost.journey.compile import compile_program
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.state import ContactState, next_due, pack, unpack
from stagepost.journey.switch import Switch, change_of, switch_to

POLICIES = st.sampled_from(["keep", "reevaluate", "finish"])
CASES = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))

Moves = dict[str, list[Transition]]


class Partition:
    """States of a partition whose definitions change once."""

    def __init__(self, old: d.Journey) -> None:
        self.program = compile_program([old])
        self.old = old
        self.switch: Switch | None = None
        self.states: dict[str, ContactState | None] = {}
        self.timers = TimerIndex()
        self.clock = self.epoch = 0
        self.moves: Moves = {}

    def change(self, new: d.Journey) -> None:
        change = change_of({self.old.name: self.old.version}, {}, {}, [new], lambda version: True)
        older = [self.old] if change.finishing else []
        self.program = compile_program([new], older)
        self.epoch = 7
        self.switch = switch_to(self.program, change, 7, self.clock, lambda version: self.old)

    def batch(self, events: list[Event], sweep: list[str] | None = None) -> None:
        fold = Fold(
            self.program,
            clock=self.clock,
            state_of=self.states.get,
            timers=self.timers,
            switch=self.switch,
            epoch=self.epoch,
        )
        steps = [step for event in events for step in fold.event(event, parse_rfc3339(event.occurred_at))]
        steps += fold.sweep(sweep or ())
        for contact, step in steps:
            self.moves.setdefault(contact, []).extend(step.moves)
        for contact, state in fold.changed.items():
            self.states[contact] = None if state is None else unpack(pack(state))
            self.timers.set(contact, None if state is None else next_due(state))
        self.clock = fold.clock

    def settle(self) -> tuple[Moves, dict[str, ContactState]]:
        """Everybody is brought up, everything due has fired: moves and states."""
        self.batch([], sorted(self.states))
        states = {c: structs.replace(s, epoch=0) for c, s in self.states.items() if s is not None}
        return {c: moves for c, moves in self.moves.items() if moves}, states


def changed(policy: str, new: d.Journey) -> d.Journey:
    return replace(new, version="v2", on_change=policy)  # type: ignore[arg-type]


@CASES
@given(old=journeys(), new=journeys(), policy=POLICIES, before=streams(size=15), after=streams(size=15))
def test_when_a_contacts_turn_comes_changes_nothing(
    old: d.Journey, new: d.Journey, policy: str, before: list[Event], after: list[Event]
) -> None:
    after = [structs.replace(event, id=f"then {event.id}") for event in after]
    results = []
    for at_once in (True, False):
        partition = Partition(old)
        partition.batch(before)
        partition.change(changed(policy, new))
        if at_once:
            partition.batch([], sorted(partition.states))
        for event in after:
            partition.batch([event])
        results.append(partition.settle())
    assert results[0] == results[1]


@CASES
@given(journey=journeys(), policy=st.sampled_from(["keep", "finish"]), events=streams(size=25), cut=st.integers(0, 25))
def test_a_change_to_the_same_meaning_changes_no_move(
    journey: d.Journey, policy: str, events: list[Event], cut: int
) -> None:
    plain, partition = Partition(journey), Partition(journey)
    plain.batch(events)
    partition.batch(events[:cut])
    partition.change(changed(policy, journey))
    partition.batch([], sorted(partition.states))
    partition.batch(events[cut:])

    def said(moves: Moves) -> Moves:
        return {c: [structs.replace(move, version="") for move in of_one] for c, of_one in moves.items()}

    assert said(partition.settle()[0]) == said(plain.settle()[0])


@CASES
@given(old=journeys(), new=journeys(), policy=POLICIES, events=streams(size=25))
def test_state_after_a_change_holds_nothing_that_no_definition_asks_for(
    old: d.Journey, new: d.Journey, policy: str, events: list[Event]
) -> None:
    partition = Partition(old)
    partition.batch(events)
    partition.change(changed(policy, new))
    _, states = partition.settle()
    programs = {0: partition.program.by_name["j"], **{m: p for (_, m), p in partition.program.older.items()}}
    for state in states.values():
        for run in state.runs.values():
            journey = programs[run.version if run.status == 1 else 0]
            assert run.facts.keys() <= journey.leaves.keys()
            assert run.timers.keys() <= journey.leaves.keys() | {journey.stall_key}
            assert run.status != 1 or run.place in journey.rank or run.place in journey.setback_rank
