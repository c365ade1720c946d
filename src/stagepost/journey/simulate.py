"""Journeys over recorded events, by the same fold as the worker: what ``simulate`` and ``test`` show.

The clock follows the events (the largest time so far) and then runs on to ``until``. May not contain: reading files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from stagepost.events import Event, Transition
from stagepost.journey.compile import Program, compile_program
from stagepost.journey.definition import Journey
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.result import Outcome, Step
from stagepost.journey.state import ContactState, next_due
from stagepost.journey.switch import Version, change_of, finishing, switch_to

PIECE = 2_000
"""Events folded at a time: where pieces end changes nothing but the memory that a fold holds."""


def pieces(events: Iterable[tuple[Event, int]]) -> Iterator[list[tuple[Event, int]]]:
    """Events in pieces of PIECE: one pass over them can serve several simulations."""
    feed = iter(events)
    while piece := list(islice(feed, PIECE)):
        yield piece


LATE_TOLD = 1_000
"""Events behind which others came late that are told apart."""


@dataclass(slots=True)
class Late:
    """Events that came late behind ``foremost``, which had moved the clock; ``first`` of them came first."""

    first: Event
    foremost: Event
    count: int = 0


@dataclass(slots=True)
class Simulation:
    """States of all contacts as events go through; ``outcomes`` counts events by accounting class, ``moved`` moves."""

    program: Program
    clock: int = 0
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    moved: int = 0
    watch: Callable[[Event, int, Outcome], None] | None = None
    """Called with each event, its time, and what became of it."""
    late: dict[str, Late] = field(default_factory=dict)
    """By the id of the event that had moved the clock to where it was then; of at most LATE_TOLD."""
    _foremost: Event | None = None
    _states: dict[str, ContactState | None] = field(default_factory=dict)
    _timers: TimerIndex = field(default_factory=TimerIndex)
    _epoch: int = 0
    _gone: dict[str, Journey] = field(default_factory=dict)
    """Journeys that a change left out, as they were last."""

    @property
    def states(self) -> Mapping[str, ContactState | None]:
        """By contact, as they are now."""
        return self._states

    def run(self, events: Iterable[tuple[Event, int]], until: int | None = None) -> Iterator[Transition]:
        """Transitions in the order made. ``until`` (micros): None or an earlier time than the last event is ignored."""
        for piece in pieces(events):
            yield from self.feed(piece)
        yield from self.finish(until)

    def feed(self, piece: Iterable[tuple[Event, int]]) -> Iterator[Transition]:
        """Transitions that some events more bring about; the piece must be gone through before the next."""
        fold = self._fold()
        for event, at in piece:
            if at > fold.clock and not event.test:
                self._foremost = event
            for _, step in fold.event(event, at):
                if step.outcome is not None:
                    self._count(step.outcome, event, at)
                yield from self._counted(step)
        self._keep(fold)

    def finish(self, until: int | None = None) -> Iterator[Transition]:
        """Transitions of the timers that are due when the clock runs on, see ``run``."""
        fold = self._fold()
        for _, step in fold.run_to(max(self.clock, until or 0)):
            yield from self._counted(step)
        self._keep(fold)

    def change(self, journeys: Sequence[Journey]) -> list[Transition]:
        """Put other definitions in force, here and now (journeys.md 4); returns what that moves."""
        program = self.program
        compiled = (*program.by_name.values(), *program.older.values())
        old: dict[Version, Journey] = {(each.name, each.version): each.definition for each in compiled}
        older: dict[str, list[str]] = {}
        for journey in self._finished_on(program):
            older.setdefault(journey.name, []).append(journey.version)
        old |= {(journey.name, journey.version): journey for journey in self._gone.values()}
        gone = {name: journey.version for name, journey in self._gone.items()}
        change = change_of(program.versions, gone, older, journeys, old.__contains__)
        names = {journey.name for journey in journeys}
        self._gone |= {name: each.definition for name, each in program.by_name.items()}
        self._gone = {name: journey for name, journey in self._gone.items() if name not in names}
        left = [old[name, version] for name, versions in change.finishing.items() for version in versions]
        self.program = compile_program(journeys, left)
        self._epoch += 1
        fold = Fold(
            self.program,
            clock=self.clock,
            state_of=self._states.get,
            timers=self._timers,
            switch=switch_to(self.program, change, self._epoch, self.clock, old.get),
            epoch=self._epoch,
        )
        moves = [move for _, step in fold.sweep(sorted(self._states)) for move in self._counted(step)]
        self._keep(fold)
        self.program = compile_program(journeys, self._finished_on(self.program))
        return moves

    def _finished_on(self, program: Program) -> list[Journey]:
        """The older versions on which some run goes on."""
        marks = {mark for state in self._states.values() for mark in finishing(state)}
        return [each.definition for mark, each in program.older.items() if mark in marks]

    def _fold(self) -> Fold:
        return Fold(self.program, clock=self.clock, state_of=self._states.get, timers=self._timers, epoch=self._epoch)

    def _keep(self, fold: Fold) -> None:
        self.clock = fold.clock
        for contact, state in fold.changed.items():
            self._states[contact] = state
            self._timers.set(contact, None if state is None else next_due(state))

    def _count(self, outcome: Outcome, event: Event, at: int) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        foremost = self._foremost
        if outcome is Outcome.LATE and foremost is not None and len(self.late) < LATE_TOLD:
            self.late.setdefault(foremost.id, Late(event, foremost)).count += 1
        if self.watch is not None:
            self.watch(event, at, outcome)

    def _counted(self, step: Step) -> tuple[Transition, ...]:
        self.moved += len(step.moves)
        return step.moves


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """One place of a journey: contacts there now, and contacts that ever were there (for stages: or higher)."""

    place: str
    kind: str
    now: int
    reached: int


class Funnel:
    """Counts from transitions alone, so that it says the same about a simulation and about a topic."""

    def __init__(self, journeys: Iterable[Journey]) -> None:
        self._journeys = {journey.name: journey for journey in journeys}
        self._now: dict[tuple[str, str], str] = {}
        self._reached: dict[str, dict[str, set[str]]] = {name: {} for name in self._journeys}

    def add(self, move: Transition) -> None:
        journey = self._journeys.get(move.journey)
        if journey is None:
            return
        reached = self._reached[move.journey]
        self._now[move.journey, move.contact] = move.to
        reached.setdefault(move.to, set()).add(move.contact)
        stages = [stage.name for stage in journey.stages]
        if move.best in stages:
            for lower in stages[: stages.index(move.best) + 1]:
                reached.setdefault(lower, set()).add(move.contact)

    def rows(self, journey: str) -> tuple[FunnelRow, ...]:
        """Stages in order, then setbacks, then exits."""
        definition, reached = self._journeys[journey], self._reached[journey]
        now: dict[str, int] = {}
        for (name, _), place in self._now.items():
            if name == journey:
                now[place] = now.get(place, 0) + 1
        places = [(s.name, "stage") for s in definition.stages]
        places += [(s.name, "setback") for s in definition.setbacks]
        places += [(e.name, "exit") for e in definition.exits]
        return tuple(FunnelRow(p, kind, now.get(p, 0), len(reached.get(p, ()))) for p, kind in places)

    def places(self, journey: str) -> dict[str, str]:
        """Where each contact of a journey is now."""
        return {contact: place for (name, contact), place in self._now.items() if name == journey}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Contacts that one definition has in ``old`` and the other in ``new``; None: in no place at all."""

    old: str | None
    new: str | None
    contacts: int


def elsewhere(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Elsewhere, ...]:
    """Who stands elsewhere, from the places of each contact under two definitions; the largest groups first."""
    groups: dict[tuple[str | None, str | None], int] = {}
    for contact in old.keys() | new.keys():
        pair = old.get(contact), new.get(contact)
        if pair[0] != pair[1]:
            groups[pair] = groups.get(pair, 0) + 1
    found = [Elsewhere(before, after, count) for (before, after), count in groups.items()]
    return tuple(sorted(found, key=lambda group: (-group.contacts, group.old or "", group.new or "")))


def side_by_side(
    old: Sequence[FunnelRow], new: Sequence[FunnelRow]
) -> tuple[tuple[FunnelRow | None, FunnelRow | None], ...]:
    """Rows of two funnels by place: those of the new one in order, then those that only the old one has."""
    before = {row.place: row for row in old}
    pairs: list[tuple[FunnelRow | None, FunnelRow | None]] = [(before.pop(row.place, None), row) for row in new]
    return (*pairs, *((row, None) for row in before.values()))
