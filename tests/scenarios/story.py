"""Journeys and timelines in a few words, for scenario, unit and property tests of the journey language.

Times are offsets such as ``1d12h`` from ``START``. ``play`` folds events as a partition would and gives the records as
lines: ``6d interested -> drifting``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from stagepost.events import DAY, HOUR, MICROS, MINUTE, Event, Transition, parse_rfc3339, rfc3339
from stagepost.journey import definition as d
from stagepost.journey.compile import compile_program
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.result import Step
from stagepost.journey.state import ContactState, next_due, pack, unpack

START = parse_rfc3339("2026-03-02T00:00:00Z")
NOWHERE = d.Position(1, 1)
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": MICROS, "w": 7 * DAY}
_numbers = itertools.count()


def span(text: str) -> int:
    """Micros of ``1d12h``."""
    parts = re.findall(r"(\d+)([wdhms])", text)
    assert "".join(n + u for n, u in parts) == text, text
    return sum(int(n) * _UNITS[u] for n, u in parts)


def offset(at: int) -> str:
    """The shortest text of a time as an offset from START."""
    rest, out = at - START, ""
    if rest < 0:
        return "-" + offset(START - rest)
    for unit in "dhms":
        whole, rest = divmod(rest, _UNITS[unit])
        out += f"{whole}{unit}" if whole else ""
    return (out or "0d") + (f"+{rest}us" if rest else "")


def event(at: str, type_: str, contact: str = "c", **fields: Any) -> Event:
    """One event; human unless it says otherwise, as in tests of a journey file."""
    fields.setdefault("id", f"e{next(_numbers)}")
    fields.setdefault("machine", False)
    if "scope" in fields and ":" in fields["scope"]:
        fields["scope"], fields["scope_id"] = fields["scope"].split(":")
    return Event(type=type_, occurred_at=rfc3339(START + span(at)), contact=contact, **fields)


def sent(at: str, campaign: str | None, message: str | None = None, **fields: Any) -> list[Event]:
    message = message or (f"m-{campaign}" if campaign else None)
    return [
        event(at, "email.sent", campaign=campaign, message=message, **fields),
        event(at, "email.delivered", campaign=campaign, message=message, **fields),
    ]


def click(at: str, url: str | None = "https://example.com/", **fields: Any) -> Event:
    return event(at, "email.clicked", url=url, **fields)


def is_(
    type_: str, *tests: tuple[str, str, Any], times: int = 1, within: str | None = None, per: bool = False, **more: Any
) -> d.EventIs:
    return d.EventIs(type_, where=where(*tests), counting=counting(times, within, per), **more)


def clicked(*links: str, times: int = 1, within: str | None = None, per: bool = False, **more: Any) -> d.Clicked:
    return d.Clicked(links or None, counting=counting(times, within, per), **more)


def counting(times: int, within: str | None, per: bool) -> d.Counting:
    return d.Counting(times, span(within) if within else None, per)


def where(*tests: tuple[str, str, Any]) -> tuple[d.Test, ...]:
    return tuple(d.Test(path, operator, value) for path, operator, value in tests)  # type: ignore[arg-type]


def scopes(text: str) -> d.ScopePattern:
    """``any``, ``all``, ``list:x`` or a plain id glob."""
    if text in ("any", "all"):
        return d.ScopePattern(text)  # type: ignore[arg-type]
    scope, _, id_ = text.rpartition(":")
    return d.ScopePattern("scope", scope or None, id_)


def unsubscribed(text: str = "any", after: str | None = None, campaign: str | None = None) -> d.Unsubscribed:
    return d.Unsubscribed(scopes(text), span(after) if after else None, campaign)


def subscribed(text: str = "any", **more: Any) -> d.Subscribed:
    return d.Subscribed(scopes(text), **more)


def stage(name: str, when: d.Condition, stalls_after: str | None = None) -> d.Stage:
    return d.Stage(name, when, span(stalls_after) if stalls_after else None, f"stages.{name}", NOWHERE)


def setback(
    name: str, when: d.Condition, sources: Sequence[str] | None = None, until: d.Condition | str | None = None
) -> d.Setback:
    path = f"setbacks.{name}"
    return d.Setback(name, when, tuple(sources or ()), until, path, NOWHERE)  # type: ignore[arg-type]


def exit_(name: str, when: d.Condition) -> d.Exit:
    return d.Exit(name, when, f"exits.{name}", NOWHERE)


def journey(stages: Sequence[d.Stage], name: str = "j", setbacks: Sequence[d.Setback] = (), **more: Any) -> d.Journey:
    """A journey; the default ``from`` of setbacks is filled in as the parser does."""
    goal = more.get("goal")
    names = [s.name for s in stages]
    below = tuple(names[: names.index(goal.reach)] if goal else names)
    full = tuple(s if s.sources else d.Setback(s.name, s.when, below, s.until, s.path, s.position) for s in setbacks)
    return d.Journey(name=name, title=None, stages=tuple(stages), version="v1", setbacks=full, **more)


def flat(events: Iterable[Event | list[Event]]) -> list[Event]:
    return [e for item in events for e in (item if isinstance(item, list) else [item])]


class Partition:
    """States, timers and clock as a worker keeps them between batches; ``stored``: in their packed form."""

    def __init__(self, *journeys: d.Journey, stored: bool = False) -> None:
        self.program = compile_program(journeys)
        self.states: dict[str, ContactState | None] = {}
        self.timers = TimerIndex()
        self.clock = 0
        self.stored = stored
        self.steps: list[tuple[str, Step]] = []

    def batch(self, events: Sequence[Event], until: int | None = None) -> list[Transition]:
        fold = Fold(self.program, clock=self.clock, state_of=self.states.get, timers=self.timers)
        steps = [step for e in events for step in fold.event(e, parse_rfc3339(e.occurred_at))]
        if until is not None:
            steps += fold.run_to(until)
        for contact, state in fold.changed.items():
            self.states[contact] = unpack(pack(state)) if state is not None and self.stored else state
            self.timers.set(contact, next_due(state) if state is not None else None)
        self.clock = fold.clock
        self.steps += steps
        return [move for _, step in steps for move in step.moves]


def records(
    journeys: d.Journey | Sequence[d.Journey], events: Iterable[Event | list[Event]], until: str | None = None
) -> list[Transition]:
    """The records of a timeline whose clock follows the events, then runs on to ``until``."""
    partition = Partition(*([journeys] if isinstance(journeys, d.Journey) else journeys))
    clock = START + span(until) if until else None
    moves = partition.batch(flat(events))
    return moves + partition.batch([], until=max(partition.clock, clock or 0))


def line(move: Transition, journeys: bool = False) -> str:
    at = offset(parse_rfc3339(move.at))
    text = f"{at} stall {move.to}" if move.kind == "stall" else f"{at} {move.from_ or 'none'} -> {move.to}"
    return f"{move.journey}: {text}" if journeys else text


def play(
    journeys: d.Journey | Sequence[d.Journey], events: Iterable[Event | list[Event]], until: str | None = None
) -> list[str]:
    several = not isinstance(journeys, d.Journey)
    return [line(move, several) for move in records(journeys, events, until)]


def with_bots(given: d.Journey, bots: d.Bots | None) -> d.Journey:
    return d.Journey(**{name: getattr(given, name) for name in given.__dataclass_fields__} | {"bots": bots})


def unknown(event_: Event) -> Event:
    """The same event, its origin not known."""
    return structs.replace(event_, machine=None)
