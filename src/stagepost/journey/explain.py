"""Why a contact is where it is: what is due next, which setbacks come nearer, what is missing for each higher stage.

Reads off the state what the next step would; so it says what the worker would do, and changes nothing.
May not contain: reading states, the story of a contact (records tell it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stagepost.events import Event, rfc3339
from stagepost.journey import conditions as c
from stagepost.journey import definition as d
from stagepost.journey import register
from stagepost.journey.compile import JourneyProgram, Program, program_of
from stagepost.journey.conditions import Leaf
from stagepost.journey.durations import duration_text
from stagepost.journey.lines import line_of
from stagepost.journey.nearest import NOTHING, Near, Seen, nearest
from stagepost.journey.state import ACTIVE, EXITED, NONE, ContactState, Run
from stagepost.journey.step import touches_of
from stagepost.journey.verdict import Verdict, verdict_of
from stagepost.journey.where import compile_glob
from stagepost.journey.wording import ordinal, words_of

Status = Literal["none", "active", "exited"]
_STATUS: dict[int, Status] = {NONE: "none", ACTIVE: "active", EXITED: "exited"}


@dataclass(frozen=True, slots=True)
class Lack:
    """One condition that does not hold. ``have`` says how far it has come; ``parts`` are those of an ``any``.

    ``near``: the newest event that might have counted, and did not.
    """

    condition: str
    have: str
    parts: tuple[Lack, ...] = ()
    near: Near | None = None


@dataclass(frozen=True, slots=True)
class Stayed:
    """Why a rule does not act. ``missing`` empty: its condition holds, and it waits for an event of its own."""

    rule: str
    line: int | None
    target: str
    missing: tuple[Lack, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """A timer that runs. ``kind``: its name in records, or ``hold`` for a click that waits for its verdict."""

    at: int
    kind: str
    rule: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a contact stands in one journey, and why not elsewhere."""

    journey: str
    version: str
    status: Status
    run: int
    """Number of the run; 0: there was none."""
    move: int
    """Records of the run so far."""
    place: str | None
    best: str | None
    since: int | None
    stalled: bool
    goal: bool
    next: tuple[Due, ...]
    stayed: tuple[Stayed, ...]
    """For the way out of a setback and each higher stage, the lowest first."""
    approaching: tuple[Stayed, ...] = ()
    """Setbacks that can strike where the contact is, and have come some way; the mildest first."""
    returns: str | None = None
    """After an exit: whether and when another run may begin."""


def standings(program: Program, state: ContactState, clock: int, seen: Seen = NOTHING) -> tuple[Standing, ...]:
    """In every journey of ``program``; ``clock``: the partition's, micros. ``seen``: events of the contact, if any are
    known: what came near is told from them."""
    return tuple(_standing(program, name, state, clock, seen) for name in program.by_name)


def verdicts(program: Program, state: ContactState, event: Event, at: int) -> dict[str, Verdict]:
    """Why a click does not count, or not yet, by the journeys where that is so."""
    found: dict[str, Verdict] = {}
    for name in program.by_name:
        journey = program_of(program, name, state.runs.get(name))
        verdict = None if journey is None else verdict_of(journey, state, event, at)
        if verdict is not None:
            found[name] = verdict
    return found


def _standing(program: Program, name: str, state: ContactState, clock: int, seen: Seen) -> Standing:
    run = state.runs.get(name) or Run()
    journey = program_of(program, name, run)
    assert journey is not None, "the program has this journey"
    active = run.status == ACTIVE
    return Standing(
        journey=name,
        version=journey.version,
        status=_STATUS[run.status],
        run=run.number,
        move=run.move,
        place=run.place or None,
        best=run.best if active else None,
        since=run.since or None,
        stalled=run.stalled,
        goal=run.goal,
        next=tuple(sorted(_due(journey, run, state), key=lambda due: (due.at, due.kind, due.rule))),
        stayed=tuple(_stayed(_Look(journey, run, state, clock, seen))),
        approaching=tuple(_approaching(_Look(journey, run, state, clock, seen))),
        returns=_returns(journey.definition, run) if run.status == EXITED else None,
    )


def _due(journey: JourneyProgram, run: Run, state: ContactState) -> Iterator[Due]:
    for key, at in run.timers.items():
        if key == journey.stall_key and run.place in journey.rank:
            rule = journey.stages[journey.rank[run.place]].path
            yield Due(at, "stall", rule, line_of(journey.definition, rule))
        elif (leaf := journey.leaves.get(key)) is not None and _can_strike(journey, run, leaf.path):
            yield Due(at, leaf.kind, leaf.path, line_of(journey.definition, leaf.path))
    lens = state.lenses.get(journey.lens)
    for click in lens.held if lens is not None else ():
        if journey.name in click.waiting:
            yield Due(click.due, "hold", "bots", line_of(journey.definition, "bots"))


def _can_strike(journey: JourneyProgram, run: Run, path: str) -> bool:
    """False for the timer of a setback that does not reach the contact where it is: it fires, and moves nobody."""
    present = journey.setback_rank.get(run.place, -1)
    for place, setback in enumerate(journey.definition.setbacks):
        if setback.path == path:
            return place > present and run.stage in setback.sources
    return True


def _stayed(look: _Look) -> Iterator[Stayed]:
    journey, run = look.journey, look.run
    definition = journey.definition
    if run.status == EXITED and (definition.reenter is None or run.place in definition.reenter.never_after):
        return
    present = journey.setback_rank.get(run.place, -1) if run.status == ACTIVE else -1
    if present >= 0:
        rule = journey.setbacks[present].until_path
        until = _way_out(definition, definition.setbacks[present])
        if until is None:
            return  # only an exit or a worse setback ends it
        yield Stayed(rule, line_of(definition, rule), run.best, look.missing(until, rule, run.best))
    best = journey.rank.get(run.best, -1) if run.status == ACTIVE else -1
    for stage in definition.stages[best + 1 :]:
        if run.status == ACTIVE or definition.enter == "any" or stage is definition.stages[0]:
            missing = look.missing(stage.when, stage.path, stage.name)
            yield Stayed(stage.path, stage.position.line, stage.name, missing)


def _approaching(look: _Look) -> Iterator[Stayed]:
    journey, run = look.journey, look.run
    if run.status != ACTIVE:
        return
    present = journey.setback_rank.get(run.place, -1)
    for setback in journey.definition.setbacks[present + 1 :]:
        if run.stage in setback.sources and look.has_begun(setback.when, setback.path):
            missing = look.missing(setback.when, setback.path, setback.name)
            if missing:
                yield Stayed(setback.path, setback.position.line, setback.name, missing)


def _way_out(journey: d.Journey, setback: d.Setback) -> d.Condition | None:
    """What ends a setback; None: nothing does."""
    if setback.until == "never":
        return None
    if setback.until is not None:
        return setback.until
    if isinstance(setback.when, d.Unsubscribed):
        return d.Not(setback.when)
    return journey.recover


def _returns(journey: d.Journey, run: Run) -> str:
    reenter = journey.reenter
    if reenter is None or reenter.after is None:
        return "no other run begins (reenter: never, which is the default)"
    if run.place in reenter.never_after:
        return f"no other run begins (reenter names {run.place} under never_after)"
    if not reenter.after:
        return "another run may begin at any time (reenter: always)"
    begin = rfc3339(run.last + reenter.after)
    return f"another run may begin from {begin} on (reenter: after {duration_text(reenter.after)})"


@dataclass(frozen=True, slots=True)
class _Look:
    """Conditions of one run, seen at the partition's clock."""

    journey: JourneyProgram
    run: Run
    state: ContactState
    clock: int
    seen: Seen

    def missing(self, condition: d.Condition, path: str, target: str) -> tuple[Lack, ...]:
        """What keeps ``condition`` from holding, and with it the contact from ``target``; empty when it holds."""
        if isinstance(condition, d.AllOf):
            return tuple(lack for part in condition.parts for lack in self.missing(part, path, target))
        if isinstance(condition, d.AnyOf):
            parts = [self.missing(part, path, target) for part in condition.parts]
            if not all(parts):
                return ()
            return (Lack(words_of(condition), "none of them", tuple(lack for part in parts for lack in part)),)
        if isinstance(condition, d.Not):
            if self.missing(condition.part, path, target):
                return ()
            have = f"{words_of(condition.part)} holds"
            if isinstance(condition.part, d.Unsubscribed):
                covers = register.compile_scopes(condition.part.scopes)
                said = register.withdrawals(self.state.register, covers)
                have = ", ".join(f"{scope} is withdrawn since {rfc3339(at)}" for scope, at in said) or have
            return (Lack(words_of(condition), have),)
        if isinstance(condition, d.Unsubscribed):
            return () if self._withdrawn(condition) else (self._lack(condition, "no such withdrawal"),)
        leaf = self.journey.places.get((path, condition))
        if leaf is None or leaf.holds(self.run.facts, self.clock, self.state.register):
            return ()
        return (self._lack(condition, self._have(leaf, condition, target)),)

    def has_begun(self, condition: d.Condition, path: str) -> bool:
        """Whether something in ``condition`` has come some way: a timer that runs, an event that counted."""
        if isinstance(condition, d.AnyOf | d.AllOf):
            return any(self.has_begun(part, path) for part in condition.parts)
        leaf = self.journey.places.get((path, condition))
        if leaf is None or isinstance(condition, d.Unsubscribed | d.Not):
            return False
        if leaf.kind and not isinstance(leaf, c.NoClickLeaf):
            return leaf.key in self.run.timers
        return self._count(leaf) > 0

    def _lack(self, condition: d.Condition, have: str) -> Lack:
        since = self.run.began if self.run.status == ACTIVE else 0
        near = nearest(self.journey.definition, condition, self.seen, since, self._judged)
        return Lack(words_of(condition), have, (), near)

    def _judged(self, event: Event, at: int) -> Verdict | None:
        return verdict_of(self.journey, self.state, event, at)

    def _withdrawn(self, condition: d.Unsubscribed) -> bool:
        names = compile_glob(condition.campaign) if condition.campaign is not None else None
        covers = register.compile_scopes(condition.scopes)
        return register.any_withdrawn(self.state.register, covers, condition.after_send, names)

    def _have(self, leaf: Leaf, condition: d.Condition, target: str) -> str:
        """How far a leaf has come."""
        if isinstance(leaf, c.NoClickLeaf):
            return self._sends(leaf, target)
        if leaf.kind:
            return self._timer(leaf, condition)
        return f"{self._progress(leaf)}{self._waiting(leaf)}"

    def _progress(self, leaf: Leaf) -> str:
        if isinstance(leaf, c.Times | c.TimesWithin):
            return f"{self._count(leaf)} of {leaf.n}"
        if isinstance(leaf, c.Campaigns | c.CampaignsWithin):
            return f"{self._count(leaf)} of {leaf.n} campaigns"
        return "not yet"

    def _waiting(self, leaf: Leaf) -> str:
        """Of the newest click that would count and is held."""
        lens = self.state.lenses.get(self.journey.lens)
        for click in reversed(lens.held if lens is not None else ()):
            if any(matched is leaf for matched, _ in touches_of(click, self.journey)):
                at, due = rfc3339(click.at), rfc3339(click.due)
                return f"; the click of {at} waits until {due} for the verdict whether a person made it"
        return ""

    def _sends(self, leaf: c.NoClickLeaf, target: str) -> str:
        run = self.run
        since = max(run.clicked, run.recovered, run.began if leaf.back is None else run.since, self._consented())
        so_far = f"{self._count(leaf)} of {leaf.n} sends without a click since {rfc3339(since)}"
        if leaf.key in run.timers:
            return f"{so_far}, due {rfc3339(run.timers[leaf.key])}"
        later = f" {duration_text(leaf.grace)} later" if leaf.grace else ""
        return f"{so_far}, the {ordinal(leaf.n)} makes it {target}{later}"

    def _timer(self, leaf: Leaf, condition: d.Condition) -> str:
        due = self.run.timers.get(leaf.key)
        if isinstance(condition, d.Missed):
            if not due:
                return f"waits for {words_of(condition.first)}"
            return f"due {rfc3339(due)}, {words_of(condition.first)} came at {rfc3339(due - condition.within)}"
        if not due:
            return "its timer does not run"
        if isinstance(condition, d.Quiet):
            return f"due {rfc3339(due)}, quiet since {rfc3339(due - condition.span)}"
        if isinstance(condition, d.Stuck):
            return f"due {rfc3339(due)}, no move since {rfc3339(due - condition.span)}"
        return f"due {rfc3339(due)}"

    def _consented(self) -> int:
        consent = self.journey.definition.consent
        return 0 if consent is None else max(0, register.consent_since(self.state, consent))

    def _count(self, leaf: Leaf) -> int:
        """Events, or campaigns, that count at present."""
        fact = self.run.facts.get(leaf.key, 0)
        times = fact if isinstance(fact, tuple) else ()
        if isinstance(leaf, c.NoClickLeaf):
            sends = zip(times[1::2], times[2::2], strict=False)
            consented = self._consented()
            return len({group for at, group in sends if at >= consented})
        if isinstance(leaf, c.Campaigns):
            return len(times)
        if isinstance(leaf, c.TimesWithin):
            return sum(1 for at in times if self.clock - leaf.span < at <= self.clock)
        if isinstance(leaf, c.CampaignsWithin):
            pairs = zip(times[::2], times[1::2], strict=False)
            return len({group for at, group in pairs if self.clock - leaf.span < at <= self.clock})
        return fact if isinstance(fact, int) else 0
