"""The engine beside the oracle: the same files and events through both, record for record; failing cases made small."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import msgspec
from tests.oracle import interpreter, journeys, language, streams

from stagepost.events import Event, Transition, parse_rfc3339
from stagepost.journey.compile import Program, compile_program
from stagepost.journey.parse import parse_journey
from stagepost.journey.simulate import Simulation

FIELDS = (
    *("journey", "contact", "run", "from", "to", "kind", "at", "rule", "cause", "timer", "credit", "last_send"),
    *("goal", "move", "dwell_s", "best", "late"),
)


@dataclass(frozen=True)
class Case:
    files: tuple[str, ...]
    events: tuple[dict[str, Any], ...]
    until: int


STREAMS = 8
"""Streams for each set of journeys: to write and to read YAML takes ten times as long as to interpret it."""


def case(seed: int) -> Case:
    files, random = _files(seed // STREAMS), Random(seed)
    events = tuple(streams.stream(random))
    last = max(interpreter.micros(event["occurred_at"]) for event in events)
    return Case(files, events, last + random.choice((0, 3_600, 86_400, 20 * 86_400)) * language.SECOND)


@lru_cache(maxsize=1)
def _files(seed: int) -> tuple[str, ...]:
    random = Random(f"files {seed}")
    names = random.choice((("j",), ("j",), ("j",), ("a", "b")))
    return tuple(journeys.journey(random, name) for name in names)


@lru_cache(maxsize=2)
def _read(files: tuple[str, ...]) -> list[language.Journey]:
    return [language.read(text) for text in files]


@lru_cache(maxsize=2)
def _compiled(files: tuple[str, ...]) -> Program:
    definitions = []
    for text in files:
        parsed = parse_journey(text, "journey.yaml")
        if parsed.journey is None:
            raise ValueError("\n".join(map(str, parsed.problems)))
        definitions.append(parsed.journey)
    return compile_program(definitions)


def by_oracle(case: Case) -> list[dict[str, Any]]:
    records = interpreter.run(_read(case.files), case.events, case.until)
    return [{name: record[name] for name in FIELDS} for record in records]


def by_engine(case: Case) -> list[dict[str, Any]]:
    simulation = Simulation(_compiled(case.files))
    events = [msgspec.convert(event, Event) for event in case.events]
    moves = simulation.run(((event, parse_rfc3339(event.occurred_at)) for event in events), case.until)
    return [_plain(move) for move in moves]


def _plain(move: Transition) -> dict[str, Any]:
    wire = msgspec.to_builtins(move)
    for part in ("credit", "last_send"):
        if wire[part]:
            wire[part]["at"] = parse_rfc3339(wire[part]["at"])
    wire["at"] = parse_rfc3339(wire["at"])
    wire["cause"] = wire["cause"] and wire["cause"]["id"]
    wire["timer"] = wire["timer"] and (wire["timer"]["name"], parse_rfc3339(wire["timer"]["due"]))
    return {name: wire[name] for name in FIELDS}


def agrees(case: Case) -> bool:
    return by_oracle(case) == by_engine(case)


def smaller(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Drop events, journeys, and parts of journeys as long as the case still fails."""
    current, changed = case, True
    while changed:
        changed = False
        for candidate in _candidates(current):
            try:
                still = fails(candidate)
            except Exception:  # a part was dropped that another needs
                still = False
            if still:
                current, changed = candidate, True
                break
    return current


def _candidates(case: Case) -> Any:
    size = len(case.events) // 2
    while size:
        for start in range(0, len(case.events), size):
            yield Case(case.files, case.events[:start] + case.events[start + size :], case.until)
        size //= 2
    if len(case.files) > 1:
        for place in range(len(case.files)):
            yield Case(case.files[:place] + case.files[place + 1 :], case.events, case.until)
    for place, text in enumerate(case.files):
        for shorter in _without(language.load(text)):
            yield Case((*case.files[:place], language.dump(shorter), *case.files[place + 1 :]), case.events, case.until)


def _without(tree: Any) -> Any:
    """The tree with one branch less, for each branch."""
    if isinstance(tree, dict):
        for key in tree:
            yield {other: value for other, value in tree.items() if other != key}
        for key, value in tree.items():
            for shorter in _without(value):
                yield {**tree, key: shorter}
        if len(tree) == 1 and next(iter(tree)) in ("any", "all"):
            yield from next(iter(tree.values()))
    elif isinstance(tree, list):
        for place in range(len(tree)):
            yield tree[:place] + tree[place + 1 :]
        for place, value in enumerate(tree):
            for shorter in _without(value):
                yield [*tree[:place], shorter, *tree[place + 1 :]]


def report(case: Case) -> str:
    """The journey, the events, and both timelines in one."""
    import difflib

    oracle, engine = by_oracle(case), by_engine(case)
    lines = [[json.dumps(_readable(record)) for record in records] for records in (oracle, engine)]
    diff = [line for line in difflib.ndiff(*lines) if not line.startswith("?")]
    events = [json.dumps(event) for event in case.events]
    until = _readable({"at": case.until})["at"]
    return "\n".join([*case.files, *events, f"until {until}", "", "- oracle, + engine", *diff])


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_readable(part) for part in value)
    if isinstance(value, int) and value > 10**14:
        return _offset(value)
    return value


def _offset(at: int) -> str:
    """``1d02:00:03`` since the start of the stream."""
    seconds = (at - int(streams.START.timestamp()) * language.SECOND) / language.SECOND
    days, rest = divmod(seconds, 86_400)
    return f"{int(days)}d{int(rest) // 3600:02d}:{int(rest) // 60 % 60:02d}:{rest % 60:06.3f}"
