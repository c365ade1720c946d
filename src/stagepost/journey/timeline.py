"""Running ``tests:``: the lines of a timeline as events of one contact, folded by the real engine (journeys.md 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec

from stagepost.events import Event, Transition, parse_rfc3339, rfc3339
from stagepost.journey.compile import compile_program
from stagepost.journey.definition import Expectation, Journey, Position, TestLine, Timeline
from stagepost.journey.durations import duration_text
from stagepost.journey.explain import Stayed, standings
from stagepost.journey.fold import Fold, TimerIndex
from stagepost.journey.nearest import Seen
from stagepost.journey.simulate import Simulation
from stagepost.journey.state import ContactState

START = parse_rfc3339("2026-01-05T00:00:00Z")
"""A Monday; offsets of a test count from it."""

CONTACT = "test-contact"


@dataclass(frozen=True, slots=True)
class TimelineResult:
    """One test that was run: what was expected and what happened, in the words of the file."""

    test: Timeline
    expected: tuple[str, ...]
    actual: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.expected == self.actual

    @property
    def position(self) -> Position:
        """Of the first expectation that was not met; of the test where all were, and more happened."""
        rows = zip_longest(self.test.expect, self.expected, self.actual)
        unmet = (line.position for line, expected, actual in rows if line is not None and expected != actual)
        return next(unmet, self.test.position)


def why_not(journey: Journey, result: TimelineResult) -> Stayed | None:
    """Why the first expected move that is missing did not come, as things stood when it was due; None: that cannot be
    told."""
    rows = zip_longest(result.test.expect, result.expected, result.actual)
    unmet = next((line for line, expected, actual in rows if line is not None and expected != actual), None)
    if unmet is None or unmet.kind != "move":
        return None
    until = START + unmet.offset
    events = list(timeline_events(result.test.events))
    while events and events[-1][1] > until:
        events.pop()
    simulation = Simulation(compile_program([journey]))
    for _ in simulation.run(events, until):
        pass
    state = simulation.states.get(CONTACT) or ContactState()
    (standing,) = standings(simulation.program, state, simulation.clock, Seen(events))
    stayed = (*standing.stayed, *standing.approaching)
    return next((each for each in stayed if each.target == unmet.target), None)


def run_timelines(journey: Journey) -> tuple[TimelineResult, ...]:
    """Run all tests of a journey, each from an empty state."""
    return tuple(run_timeline(journey, test) for test in journey.tests)


def run_timeline(journey: Journey, test: Timeline) -> TimelineResult:
    """Run one test; its clock runs to the last offset that is named."""
    fold = Fold(compile_program([journey]), clock=0, state_of=lambda contact: None, timers=TimerIndex())
    moves: list[Transition] = []
    for event, at in timeline_events(test.events):
        for _, step in fold.event(event, at):
            moves += step.moves
    last = max([line.offset for line in test.events] + [line.offset for line in test.expect], default=0)
    for _, step in fold.run_to(START + last):
        moves += step.moves
    return TimelineResult(
        test, tuple(_expected(line) for line in test.expect), tuple(_happened(move) for move in moves)
    )


def timeline_events(lines: Sequence[TestLine]) -> Iterator[tuple[Event, int]]:
    """Canonical events, and when each happened, in the order of the lines."""
    messages: dict[str, str] = {}
    for number, line in enumerate(lines):
        at = START + line.offset
        fields = _fields(line, number, messages)
        types = ("email.sent", "email.delivered") if line.words[0] == "sent" else (fields.pop("type"),)
        for type_ in types:
            body = {"id": f"{number}-{type_}", "type": type_, "occurred_at": rfc3339(at), "contact": CONTACT, **fields}
            yield msgspec.convert(body, Event), at


def _fields(line: TestLine, number: int, messages: dict[str, str]) -> dict[str, object]:
    """What a line says about its event, and its ``type`` unless it stands for two."""
    verb, *words = line.words
    options = dict(line.options)
    if "." in verb:
        return {"type": verb, "data": {key: _data(text) for key, text in options.items()}}
    campaign = options.get("campaign")
    if verb in ("sent", "opened", "complained"):
        campaign = words[0]
    elif verb == "bounced":
        campaign = words[1]
    fields: dict[str, object] = {"type": f"email.{verb}"}
    message = options.get("message")
    if campaign is not None:
        if verb == "sent":
            messages[campaign] = message or f"m{number}"
        message = message or messages.get(campaign)
    fields |= {"campaign": campaign, "message": message}
    if verb in ("clicked", "opened"):
        fields["machine"] = {"true": True, "unknown": None}.get(options.get("machine", "false"), False)
    if verb == "clicked":
        fields["url"] = words[0]
    if verb == "bounced":
        fields["class"] = words[0]
    if verb in ("unsubscribed", "resubscribed") and words:
        scope, _, id_ = words[0].partition(":")
        fields |= {"scope": scope} | ({"scope_id": id_} if id_ else {})
    if verb == "sent":
        del fields["type"]
    return fields


def _data(text: str) -> object:
    """``50``, ``true`` and ``"50"`` as JSON has them; everything else is text."""
    try:
        value = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _expected(line: Expectation) -> str:
    offset = duration_text(line.offset)
    if line.kind == "stall":
        return f"{offset} stall {line.target}"
    return f"{offset} {line.source or 'none'} -> {line.target}"


def _happened(move: Transition) -> str:
    offset = duration_text(parse_rfc3339(move.at) - START)
    if move.kind == "stall":
        return f"{offset} stall {move.to}"
    return f"{offset} {move.from_ or 'none'} -> {move.to}"
