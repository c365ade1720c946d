"""Lines of ``tests:``: ``OFFSET EVENT [key=value ...]`` and ``OFFSET from -> to`` (journeys.md 5)."""

from __future__ import annotations

import re
from collections.abc import Callable

from stagepost.journey import problems as p
from stagepost.journey.definition import SCOPES, Expectation, Position, TestLine, Timeline
from stagepost.journey.durations import parse_duration
from stagepost.journey.problems import Code, did_you_mean
from stagepost.journey.yaml_nodes import Items, Pairs, Tree, Value

Report = Callable[[Code, str, Position], None]

_ARGUMENTS = {
    # verb: (fewest, most) words behind it
    "sent": (1, 1),
    "clicked": (1, 1),
    "opened": (1, 1),
    "complained": (1, 1),
    "bounced": (2, 2),
    "unsubscribed": (0, 1),
    "resubscribed": (0, 1),
}
_KEYS = {
    "sent": ("message",),
    "clicked": ("campaign", "message", "machine"),
    "opened": ("message", "machine"),
    "complained": ("message",),
    "bounced": ("message",),
    "unsubscribed": ("campaign", "message"),
    "resubscribed": ("campaign", "message"),
}
"""What can stand as ``key=value`` behind a verb; an activity takes any, as data."""

_MACHINE = ("true", "false", "unknown")
_SCOPE = re.compile(rf"all|domain|({'|'.join(SCOPES)}):.+")
_OPTION = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)")
_MOVE = re.compile(r"(\S+)\s*->\s*(\S+)")
LINES = 1_000
"""Events or expectations of one test."""


def read_timeline(node: Tree, report: Report) -> Timeline | None:
    """One entry of ``tests:``; faults go to ``report``, None when there is nothing left to run."""
    if not isinstance(node, Pairs):
        report(p.WRONG_KIND, "a test is a mapping with name, events and expect", node.position)
        return None
    for key, _ in node.pairs:
        if key.text not in ("name", "events", "expect"):
            report(p.UNKNOWN_KEY, f"unknown key {key.text!r}: a test has name, events and expect", key.position)
    name = node.get("name")
    if name is None:
        report(p.MISSING_KEY, "the test has no name: add name: WHAT IT SHOWS", node.position)
        return None
    if not isinstance(name, Value) or not isinstance(name.value, str) or not 0 < len(name.text) <= 1024:
        report(p.WRONG_KIND, "the name of a test is text of 1 to 1,024 characters", name.position)
        return None
    events = [_event(line, report) for line in _lines(node, "events", report)]
    expect = [_expectation(line, report) for line in _lines(node, "expect", report)]
    return Timeline(
        name=name.text,
        events=tuple(line for line in events if line is not None),
        expect=tuple(line for line in expect if line is not None),
        position=name.position,
    )


def _lines(node: Pairs, key: str, report: Report) -> list[Value]:
    found = node.get(key)
    if found is None:
        report(p.MISSING_KEY, f"the test has no {key}", node.position)
        return []
    if not isinstance(found, Items) or len(found.items) > LINES:
        report(p.WRONG_KIND, f"{key} is a list of at most {LINES} lines", found.position)
        return []
    lines = []
    for item in found.items:
        if isinstance(item, Value):
            lines.append(item)
        else:
            report(p.WRONG_KIND, f"a line of {key} is text; put it in quotes when it holds ': '", item.position)
    return lines


def _offset(line: Value, code: Code, report: Report) -> tuple[int, str] | None:
    first, _, rest = line.text.strip().partition(" ")
    try:
        return parse_duration(first), rest.strip()
    except ValueError:
        report(code, f"begin with an offset such as 0d, 36h or 7d, not {first[:40]!r}", line.position)
        return None


def _event(line: Value, report: Report) -> TestLine | None:
    read = _offset(line, p.BAD_TEST, report)
    if read is None:
        return None
    offset, rest = read
    verb, *others = rest.split() or [""]
    words = [word for word in others if not (_OPTION.fullmatch(word) and "://" not in word.partition("=")[0])]
    options = [_OPTION.fullmatch(word) for word in others if word not in words]
    if verb in _ARGUMENTS:
        fewest, most = _ARGUMENTS[verb]
        if not fewest <= len(words) <= most:
            report(p.BAD_TEST, f"{verb} takes {_argument_text(verb)}", line.position)
            return None
        if verb == "bounced" and words[0] not in ("hard", "soft"):
            report(p.BAD_TEST, "bounced hard CAMPAIGN, or bounced soft CAMPAIGN", line.position)
            return None
        if verb in ("unsubscribed", "resubscribed") and words and not _SCOPE.fullmatch(words[0]):
            told = f"{words[0][:60]!r} is no scope: expected all, or one of {', '.join(SCOPES)} with an id, list:ID"
            report(p.BAD_TEST, told, line.position)
            return None
    elif "." not in verb or words:
        known = ", ".join(_ARGUMENTS)
        told = f"{verb[:60]!r}: expected {known}, or a type with a dot and key=value"
        if "." in verb:
            told = f"{words[0][:60]!r} behind {verb[:60]} is no key=value, which has no blanks in it"
        report(p.BAD_TEST, told, line.position)
        return None
    pairs = tuple((found[1], found[2]) for found in options if found is not None)
    for key, value in pairs if verb in _KEYS else ():
        if key not in _KEYS[verb]:
            known = ", ".join(f"{known}=" for known in _KEYS[verb])
            told = f"{verb} takes no {key[:60]}={did_you_mean(key, _KEYS[verb])}; it takes {known}"
            report(p.BAD_TEST, told, line.position)
        elif key == "machine" and value not in _MACHINE:
            report(p.BAD_TEST, f"machine={value[:60]}: expected one of {', '.join(_MACHINE)}", line.position)
    return TestLine(offset, (verb, *words), pairs, line.position)


def _argument_text(verb: str) -> str:
    if verb in ("unsubscribed", "resubscribed"):
        return "all, SCOPE:ID, or nothing"
    if verb == "bounced":
        return "hard or soft, and a campaign"
    return "a URL" if verb == "clicked" else "a campaign"


def _expectation(line: Value, report: Report) -> Expectation | None:
    read = _offset(line, p.BAD_EXPECT, report)
    if read is None:
        return None
    offset, rest = read
    move = _MOVE.fullmatch(rest)
    if move is not None:
        source = None if move[1] == "none" else move[1]
        return Expectation(offset, "move", source, move[2], line.position)
    word, _, stage = rest.partition(" ")
    if word == "stall" and stage.strip():
        return Expectation(offset, "stall", stage.strip(), stage.strip(), line.position)
    report(p.BAD_EXPECT, "expected OFFSET from -> to, or OFFSET stall STAGE", line.position)
    return None
