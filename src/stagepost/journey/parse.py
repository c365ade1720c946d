"""A journey file to a ``Journey``, or to problems that name line, column and the way to mend them.

Reads everything it can before it gives up, so that one run shows all faults. Nothing is ignored: what is not a word of
the language is an error. May not contain: evaluation (``conditions.py``) or findings about a journey that can be read
(``lint.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast, get_args

import re2

from stagepost.events import DAY
from stagepost.journey import problems as p
from stagepost.journey.definition import (
    SCOPES,
    After,
    AllOf,
    AnyOf,
    Bots,
    Clicked,
    Condition,
    Consent,
    Counting,
    EventIs,
    Exit,
    Goal,
    Journey,
    Link,
    Means,
    Missed,
    NoClick,
    Not,
    Opened,
    Position,
    Quiet,
    Reenter,
    ScopePattern,
    Setback,
    Stage,
    Stuck,
    Subscribed,
    Test,
    Timeline,
    Unsubscribed,
)
from stagepost.journey.durations import parse_duration
from stagepost.journey.links import PatternError, parse_pattern
from stagepost.journey.lint import lint, rules
from stagepost.journey.problems import Code, Problem, closest, did_you_mean
from stagepost.journey.timeline_lines import read_timeline
from stagepost.journey.version import version_of
from stagepost.journey.yaml_nodes import Items, Pairs, Tree, Unreadable, Value, end_of, read_yaml

DEPTH = 4
"""any, all, not and missed nest to this depth (journeys.md 2 and 3.1)."""

CONDITIONS = 1_000
"""Most conditions of one journey, any, all and not among them: what ``lint`` compares grows with their square."""

PROBLEMS = 500
"""Faults told of one file; nobody reads on, and looking for what was meant takes time."""

TOLD = 400
"""Characters of a message: what a file says can be long."""

TIMES = 100
"""Most matching events that a condition counts (journeys.md 2)."""

SENDS = 20
"""Most sends that no_click counts: a contact's last sends are remembered, and these must be among them."""

_T = TypeVar("_T")

_QUIET = re2.Options()
_QUIET.log_errors = False
"""The fault is told with its place; RE2 would write it to standard error as well."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")

ENTRIES = 100
"""Most entries of a list or mapping that LIMITS does not name."""

LIMITS = {"stages": 64, "setbacks": 32, "exits": 32, "links": 200, "sends": 100, "tests": 200, "labels": 32, "any": 50}
"""Most entries of a section, and of ``any`` and ``all``."""

_OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "in", "prefix", "matches", "exists")
_MEANT = {"gte": "ge", "lte": "le", "neq": "ne", "==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
"""How others call the same."""

_COMPARISON = re.compile(r"\s*(?:(>=?|<=?)\s*(?=[-+.0-9])|(==|!=))\s*(.*\S)\s*")
_NUMBER = re.compile(r"[-+]?[0-9]+(_[0-9]{3})*(\.[0-9]+)?")

_HEADS = "event clicked opened subscribed unsubscribed no_click quiet missed stuck after any all not".split()
_COUNTED = ("where", "campaign", "times", "within", "per", "after_send")
_KEYS = (
    "journey title sends labels links stages setbacks recover exits enter reenter goal consent bots attribution "
    "lateness on_change tests"
).split()
_OPTIONS: dict[str, tuple[str, ...]] = {
    "event": _COUNTED,
    "clicked": _COUNTED,
    "opened": _COUNTED,
    "subscribed": _COUNTED,
    "unsubscribed": ("after_send", "campaign"),
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file is: a journey unless there are errors; problems in the order of the file."""

    journey: Journey | None
    problems: tuple[Problem, ...]


def parse_bytes(data: bytes, source: str) -> Parsed:
    """``parse_journey`` of what a file holds, whatever ends its lines. Never raises."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        told = f"byte 0x{data[error.start]:02x} is no UTF-8 text: {error.reason}"
        return Parsed(None, (Problem(source, end_of(data[: error.start].decode()), p.NOT_YAML, told),))
    return parse_journey(re.sub("\r\n?", "\n", text), source)


def parse_journey(text: str, source: str) -> Parsed:
    """Read one file; ``source`` is its name for messages. Never raises."""
    reader = _Reader(source, text)
    try:
        tree = read_yaml(text)
    except Unreadable as error:
        reader.problem(error.code, error.message, error.position)
        return Parsed(None, tuple(reader.problems))
    if not isinstance(tree, Pairs):
        reader.problem(p.WRONG_KIND, "a journey file is a mapping that begins with journey: NAME", Position(1, 1))
        return Parsed(None, tuple(reader.problems))
    try:
        journey = reader.journey(tree)
    except _Enough:
        return Parsed(None, _in_order(reader.problems))
    if not any(problem.is_error for problem in reader.problems):
        reader.problems += lint(journey, source, reader.positions)
    found = _in_order(reader.problems)
    return Parsed(None if any(problem.is_error for problem in found) else journey, found)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (problem.position.line, problem.position.column)))


class _Enough(Exception):
    """So many faults that the rest of the file is not looked at."""


class _Reader:
    """Turns trees into definitions and collects problems; after a problem it goes on with something harmless."""

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self._whole = text
        self.problems: list[Problem] = []
        self._links: dict[str, Link] = {}
        self.positions: dict[int, Position] = {}
        """Where each condition stands, by its identity: equal ones may stand in several places."""
        self._conditions = 0

    def problem(self, code: Code, message: str, position: Position) -> None:
        told = message if len(message) <= TOLD else f"{message[:TOLD]}..."
        self.problems.append(Problem(self.source, position, code, told))
        if len(self.problems) == PROBLEMS:
            full = f"{PROBLEMS} faults found, the rest of the file was not looked at"
            self.problems.append(Problem(self.source, position, p.TOO_LARGE, full))
            raise _Enough

    # --- the file ---------------------------------------------------------------------------------------------------

    def journey(self, tree: Pairs) -> Journey:
        tree = self._keys(tree, _KEYS)
        name = self._journey_name(tree)
        self._links = {link.name: link for link in self._links_of(tree.get("links"))}
        stages = self._stages(tree)
        stage_names = [stage.name for stage in stages]
        goal = self._goal(tree.get("goal"), stage_names)
        recover = self._optional(tree.get("recover"), self.condition)
        exits = self._exits(tree.get("exits"))
        consent = self._optional(tree.get("consent"), self._consent)
        setbacks = self._setbacks(tree.get("setbacks"), stage_names, goal, recover)
        self._unique_places([*stages, *setbacks, *exits])
        exit_names = [e.name for e in exits] + (["consent_withdrawn"] if consent else [])
        journey = Journey(
            name=name,
            title=self._optional(tree.get("title"), self._text),
            stages=stages,
            version="",
            sends=self._sends(tree.get("sends")),
            labels=self._labels(tree.get("labels")),
            links=tuple(self._links.values()),
            setbacks=setbacks,
            recover=recover,
            exits=exits,
            enter=cast(Literal["any", "first"], self._choice(tree.get("enter"), ("any", "first"), "any")),
            reenter=self._optional(tree.get("reenter"), lambda node: self._reenter(node, exit_names)),
            goal=goal,
            consent=consent,
            bots=self._bots(tree.get("bots")),
            attribution=self._attribution(tree.get("attribution")),
            lateness=self._optional(tree.get("lateness"), self._duration) or DAY,
            on_change=self._on_change(tree.get("on_change")),
            source=self.source,
            text=self._whole,
        )
        if not any(problem.is_error for problem in self.problems):
            self._check_acting(journey, tree.get("recover"))
        tests = tuple(read_timeline(node, self.problem) for node in self._list(tree.get("tests"), "tests"))
        read = tuple(test for test in tests if test is not None)
        self._unique_tests(read)
        places = [*stage_names, *(setback.name for setback in setbacks), *exit_names]
        for test in read:
            self._known_places(test, stage_names, places)
        return replace(journey, version=version_of(journey), tests=read)

    def _unique_tests(self, tests: Sequence[Timeline]) -> None:
        first: dict[str, int] = {}
        for test in tests:
            line = first.setdefault(test.name, test.position.line)
            if line != test.position.line:
                told = f"{test.name!r} is the name of the test in line {line} already"
                self.problem(p.DUPLICATE_NAME, told, test.position)

    def _known_places(self, test: Timeline, stages: Sequence[str], places: Sequence[str]) -> None:
        for line in test.expect:
            known, kinds = (stages, "stage") if line.kind == "stall" else (places, "stage, setback or exit")
            for name in dict.fromkeys((line.source, line.target)):
                if name is not None and name not in known:
                    only = ", and only stages stall" if name in places else did_you_mean(name, known)
                    self.problem(p.BAD_EXPECT, f"{name!r} is no {kinds}{only}", line.position)

    def _journey_name(self, tree: Pairs) -> str:
        node = tree.get("journey")
        if node is None:
            self.problem(p.MISSING_KEY, "the file does not say its name: add journey: NAME", tree.position)
            return "unnamed"
        return self._name(node)

    def _links_of(self, node: Tree | None) -> list[Link]:
        links = []
        for key, value in self._mapping(node, "links"):
            name = self._checked_name(key)
            if name in ("any", "all"):
                self.problem(p.BAD_NAME, f"{name} is reserved; give the link another name", key.position)
            links.append(self._link(name, value))
        return links

    def _link(self, name: str, node: Tree) -> Link:
        means: Means | None = None
        place: Tree | None = node
        if isinstance(node, Pairs):
            node = self._keys(node, ("url", "means"))
            place = node.get("url")
            if (meant := node.get("means")) is not None:
                means = cast(Means, self._choice(meant, get_args(Means), None))
        if place is None:
            self.problem(p.MISSING_KEY, f"link {name} has no url: add url: example.com/path", node.position)
            return Link(name, "example.com", means)
        pattern = self._text(place)
        try:
            if pattern != _UNREAD:
                parse_pattern(pattern)
        except PatternError as error:
            self.problem(p.DEAD_LINK, f"link {name} {error}", place.position)
        return Link(name, pattern, means)

    def _stages(self, tree: Pairs) -> tuple[Stage, ...]:
        node = tree.get("stages")
        entries = self._entries(node, "stages", ("stalls_after",))
        if node is None or (isinstance(node, Items) and not node.items):
            self.problem(p.MISSING_KEY, "a journey needs stages: add at least one", (node or tree).position)
        return tuple(
            Stage(
                name=entry.name,
                when=entry.when,
                stalls_after=self._optional(entry.own.get("stalls_after"), self._duration),
                path=f"stages.{entry.name}",
                position=entry.position,
            )
            for entry in entries
        )

    def _exits(self, node: Tree | None) -> tuple[Exit, ...]:
        return tuple(
            Exit(entry.name, entry.when, f"exits.{entry.name}", entry.position)
            for entry in self._entries(node, "exits", ())
        )

    def _check_acting(self, journey: Journey, recovery: Tree | None) -> None:
        for name, condition, position in rules(journey):
            if not _acts(condition):
                message = f"{name} never acts, for an event under not moves nobody: put what does beside it, all: [...]"
                place = position or (recovery.position if recovery is not None else Position(1, 1))
                self.problem(p.NEVER_ACTS, message, place)

    def _setbacks(
        self, node: Tree | None, stages: Sequence[str], goal: Goal | None, recover: Condition | None
    ) -> tuple[Setback, ...]:
        below_goal = stages[: stages.index(goal.reach)] if goal is not None and goal.reach in stages else stages
        setbacks = []
        for entry in self._entries(node, "setbacks", ("from", "until")):
            source = entry.own.get("from")
            until_node = entry.own.get("until")
            until: Condition | Literal["never"] | None = None
            if isinstance(until_node, Value) and until_node.text == "never":
                until = "never"
            elif until_node is not None:
                until = self.condition(until_node)
            if until is None and recover is None and not isinstance(entry.when, Unsubscribed):
                self.problem(
                    p.NO_WAY_OUT,
                    f"nothing ends {entry.name}: add recover: to the journey, or until: CONDITION or until: never here",
                    entry.position,
                )
            sources = tuple(below_goal) if source is None else self._stage_names(source, stages)
            setbacks.append(Setback(entry.name, entry.when, sources, until, f"setbacks.{entry.name}", entry.position))
        return tuple(setbacks)

    def _stage_names(self, node: Tree, stages: Sequence[str]) -> tuple[str, ...]:
        names = []
        for item in self._list(node, "from"):
            name = self._text(item)
            if name not in stages:
                self.problem(p.UNKNOWN_STAGE, f"{name!r} is no stage{did_you_mean(name, stages)}", item.position)
            names.append(name)
        return tuple(names)

    def _unique_places(self, places: Sequence[Stage | Setback | Exit]) -> None:
        seen: dict[str, Stage | Setback | Exit] = {}
        for place in places:
            if place.name in seen:
                first = seen[place.name].position
                self.problem(
                    p.DUPLICATE_NAME, f"{place.name!r} is the name in line {first.line} already", place.position
                )
            seen.setdefault(place.name, place)

    def _goal(self, node: Tree | None, stages: Sequence[str]) -> Goal | None:
        pairs = self._pairs(node, "goal: {reach: STAGE, within: 60d}", ("reach", "within"))
        if pairs is None:
            return None
        reach_node = pairs.get("reach")
        if reach_node is None:
            self.problem(p.MISSING_KEY, "the goal names no stage: add reach: STAGE", pairs.position)
            return None
        reach = self._text(reach_node)
        if reach not in (*stages, _UNREAD):
            self.problem(p.UNKNOWN_STAGE, f"{reach!r} is no stage{did_you_mean(reach, stages)}", reach_node.position)
        return Goal(reach, self._optional(pairs.get("within"), self._duration))

    def _reenter(self, node: Tree, exits: Sequence[str]) -> Reenter | None:
        if isinstance(node, Value):
            word = self._choice(node, ("never", "always"), "never")
            return Reenter(after=0) if word == "always" else None
        pairs = self._pairs(node, "reenter: {after: 90d, never_after: [EXIT]}", ("after", "never_after"))
        if pairs is None:
            return None
        barred = []
        for item in self._list(pairs.get("never_after"), "never_after"):
            name = self._text(item)
            if name not in exits:
                self.problem(p.UNKNOWN_EXIT, f"{name!r} is no exit{did_you_mean(name, exits)}", item.position)
            barred.append(name)
        return Reenter(self._optional(pairs.get("after"), self._duration) or 0, tuple(barred))

    def _consent(self, node: Tree) -> Consent:
        if isinstance(node, Value):
            return Consent(self._text(node))
        pairs = self._pairs(node, "consent: {purpose: tracking, default: denied}", ("purpose", "default"))
        purpose = pairs.get("purpose") if pairs is not None else None
        if pairs is None or purpose is None:
            self.problem(p.MISSING_KEY, "consent names no purpose: add purpose: NAME", node.position)
            return Consent("")
        default = self._choice(pairs.get("default"), ("granted", "denied"), "denied")
        return Consent(self._text(purpose), cast(Literal["granted", "denied"], default))

    def _bots(self, node: Tree | None) -> Bots | None:
        if node is None:
            return Bots()
        if isinstance(node, Value):
            self._choice(node, ("off",), "off")
            return None
        pairs = self._pairs(node, "bots: {instant: 2s, near: 5m}", ("instant", "burst", "near", "hold"))
        if pairs is None:
            return None
        burst = self._pairs(pairs.get("burst"), "burst: {urls: 3, within: 10s}", ("urls", "within"))
        spans = {key: self._duration(value) for key in ("instant", "near", "hold") if (value := pairs.get(key))}
        bots = replace(Bots(), **spans)
        if burst is not None:
            urls, within = burst.get("urls"), burst.get("within")
            bots = replace(
                bots,
                burst_urls=bots.burst_urls if urls is None else self._number(urls, 2, 16),
                burst_within=bots.burst_within if within is None else self._duration(within),
            )
        return bots

    def _attribution(self, node: Tree | None) -> int:
        pairs = self._pairs(node, "attribution: {window: 7d}", ("window",))
        window = pairs.get("window") if pairs is not None else None
        return 7 * DAY if window is None else self._duration(window)

    def _on_change(self, node: Tree | None) -> Literal["keep", "reevaluate", "finish"]:
        word = self._choice(node, ("keep", "reevaluate", "finish"), "keep")
        return cast(Literal["keep", "reevaluate", "finish"], word)

    def _labels(self, node: Tree | None) -> tuple[tuple[str, str], ...]:
        return tuple((self._checked_name(key), self._text(value)) for key, value in self._mapping(node, "labels"))

    # --- entries: - name: CONDITION ---------------------------------------------------------------------------------

    def _entries(self, node: Tree | None, section: str, own: Collection[str]) -> list[_Entry]:
        entries = []
        for item in self._list(node, section):
            if not isinstance(item, Pairs) or len(item.pairs) != 1:
                self.problem(
                    p.WRONG_KIND,
                    f"an entry of {section} is one name and its condition: - name: CONDITION",
                    item.position,
                )
                continue
            ((key, value),) = item.pairs
            entries.append(self._entry(self._checked_name(key), value, key.position, own))
        return entries

    def _entry(self, name: str, node: Tree, position: Position, own: Collection[str]) -> _Entry:
        if isinstance(node, Value) and node.value is None:
            self.problem(p.NO_CONDITION, f"{name} has no condition: write {name}: CONDITION", node.position)
            return _Entry(name, _HARMLESS, {}, position)
        if not isinstance(node, Pairs):
            return _Entry(name, self.condition(node), {}, position)
        kept = {key.text: value for key, value in node.pairs if key.text in own}
        rest = tuple((key, value) for key, value in node.pairs if key.text not in own)
        when = node.get("when")
        if when is not None:
            self._keys(Pairs(rest, node.position), ("when",), also=own)
            return _Entry(name, self.condition(when), kept, position)
        if not rest:
            self.problem(p.NO_CONDITION, f"{name} has no condition: add when: CONDITION", node.position)
            return _Entry(name, _HARMLESS, kept, position)
        return _Entry(name, self.condition(Pairs(rest, node.position), also=own), kept, position)

    # --- conditions -------------------------------------------------------------------------------------------------

    def condition(self, node: Tree, depth: int = 0, also: Collection[str] = ()) -> Condition:
        """One condition; ``depth``: how many of any, all, not and missed stand around it."""
        self._conditions += 1
        if self._conditions == CONDITIONS + 1:
            self.problem(p.OUT_OF_RANGE, f"more than {CONDITIONS} conditions in one journey", node.position)
        if isinstance(node, Value):
            return self._placed(self._event_type(node), node.position)
        if isinstance(node, Items):
            self.problem(p.NO_CONDITION, "a list is no condition: write any: [...] or all: [...]", node.position)
            return _HARMLESS
        heads = [key for key, _ in node.pairs if key.text in _HEADS]
        if len(heads) != 1:
            self._no_single_head(node, heads, also)
            return _HARMLESS
        head = heads[0].text
        node = self._keys(node, (head, *_OPTIONS.get(head, ())), also=also)
        value = node.get(head)
        assert value is not None
        if head in ("any", "all", "not", "missed") and depth >= DEPTH:
            self.problem(p.TOO_DEEP, f"{head} stands inside {DEPTH} others; that is the limit", heads[0].position)
            return _HARMLESS
        return self._placed(_READERS[head](self, node, value, depth), heads[0].position)

    def _placed(self, condition: Condition, position: Position) -> Condition:
        self.positions[id(condition)] = position
        return condition

    def _no_single_head(self, node: Pairs, heads: Sequence[Value], also: Collection[str]) -> None:
        if heads:
            names = " and ".join(key.text for key in heads)
            self.problem(p.NO_CONDITION, f"{names} are two conditions: join them with any: or all:", node.position)
            return
        for key, _ in node.pairs:
            if key.text == "when":
                told = "when stands in entries of stages, setbacks and exits only: write its condition here itself"
                self.problem(p.UNKNOWN_KEY, told, key.position)
                return
            known = [*_HEADS, *_COUNTED, *also]
            self.problem(p.UNKNOWN_KEY, f"unknown key {key.text!r}{did_you_mean(key.text, known)}", key.position)
            return
        self.problem(p.NO_CONDITION, "an empty mapping is no condition", node.position)

    def _event_type(self, node: Value) -> EventIs:
        text = node.text
        if not isinstance(node.value, str) or not re.fullmatch(r"[^\s.]+(\.[^\s.]+)+", text) or len(text) > 256:
            hint = f"; write {text}: any" if text in ("clicked", "opened", "subscribed", "unsubscribed") else ""
            self.problem(
                p.NO_CONDITION, f"{text!r} is no event type: those have a dot, order.completed{hint}", node.position
            )
            return _HARMLESS
        return EventIs(text)

    def _event(self, node: Pairs, value: Tree, depth: int) -> Condition:
        type_ = _HARMLESS.type
        if isinstance(value, Value):
            type_ = self._event_type(value).type
        else:
            self.problem(p.NO_CONDITION, "event takes one type with a dot: event: order.completed", value.position)
        options = self._counted(node)
        if options["after_send"] is not None and type_ == "email.delivered":
            self.problem(p.BAD_AFTER_SEND, "after_send on email.delivered measures a send from itself", node.position)
        return EventIs(type=type_, **options)

    def _clicked(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return Clicked(links=self._clicked_links(value), **self._counted(node))

    def _clicked_links(self, value: Tree) -> tuple[str, ...] | None:
        if isinstance(value, Value) and value.text == "any":
            return None
        items = value.items if isinstance(value, Items) else (value,)
        if not items:
            self.problem(p.WRONG_KIND, "clicked names no link: write any, a link, or a list of links", value.position)
        names = []
        for item in items:
            name = self._text(item)
            if name == "any":
                told = "any stands alone, for all links but those of disengagement: write clicked: any"
                self.problem(p.UNKNOWN_LINK, told, item.position)
            elif name not in self._links:
                known = [*self._links, "any"]
                self.problem(p.UNKNOWN_LINK, f"{name!r} is no link{did_you_mean(name, known)}", item.position)
            names.append(name)
        return tuple(names)

    def _opened(self, node: Pairs, value: Tree, depth: int) -> Condition:
        self._choice(value, ("any",), "any")
        return Opened(**self._counted(node))

    def _subscribed(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return Subscribed(scopes=self._scopes(value), **self._counted(node))

    def _unsubscribed(self, node: Pairs, value: Tree, depth: int) -> Condition:
        after_send = self._optional(node.get("after_send"), self._duration)
        campaign = self._optional(node.get("campaign"), self._text)
        if campaign is not None and after_send is None:
            self.problem(
                p.BAD_AFTER_SEND, "campaign on unsubscribed names the send of after_send: add it", node.position
            )
        return Unsubscribed(self._scopes(value), after_send, campaign)

    def _scopes(self, node: Tree) -> ScopePattern:
        if isinstance(node, Value):
            text = self._text(node)
            if text == "any":
                return ScopePattern("any")
            return ScopePattern("all") if text == "all" else ScopePattern("scope", None, text)
        pairs = self._pairs(node, "{scope: list, id: GLOB}", ("scope", "id"))
        if pairs is None:
            return ScopePattern("any")
        scope, id_ = pairs.get("scope"), pairs.get("id")
        if scope is None:
            self.problem(p.MISSING_KEY, "say which scope: list, group, stream, topic or tag", node.position)
        return ScopePattern("scope", self._choice(scope, SCOPES, None), self._optional(id_, self._text) or "*")

    def _no_click(self, node: Pairs, value: Tree, depth: int) -> Condition:
        pairs = self._pairs(value, "no_click: {sends: 3, grace: 48h}", ("sends", "grace", "count"))
        if pairs is None:
            return _HARMLESS
        sends, grace = pairs.get("sends"), pairs.get("grace")
        for key, found in (("sends", sends), ("grace", grace)):
            if found is None:
                self.problem(p.MISSING_KEY, f"no_click needs {key}: {{sends: 3, grace: 48h}}", value.position)
        if sends is None or grace is None:
            return _HARMLESS
        count = self._choice(pairs.get("count"), ("delivered", "sent"), "delivered")
        return NoClick(self._number(sends, 1, SENDS), self._duration(grace), cast(Literal["delivered", "sent"], count))

    def _quiet(self, node: Pairs, value: Tree, depth: int) -> Condition:
        if isinstance(value, Value):
            return Quiet(self._duration(value))
        pairs = self._pairs(value, "quiet: {for: 14d, opens: true}", ("for", "opens"))
        span = pairs.get("for") if pairs is not None else None
        if pairs is None or span is None:
            self.problem(p.MISSING_KEY, "quiet says no duration: write quiet: 14d, or for: 14d", value.position)
            return _HARMLESS
        return Quiet(self._duration(span), self._optional(pairs.get("opens"), self._boolean) or False)

    def _missed(self, node: Pairs, value: Tree, depth: int) -> Condition:
        pairs = self._pairs(
            value, "missed: {first: CONDITION, then: CONDITION, within: 5d}", ("first", "then", "within")
        )
        if pairs is None:
            return _HARMLESS
        first, then, within = (pairs.get(key) for key in ("first", "then", "within"))
        if first is None or then is None or within is None:
            self.problem(p.MISSING_KEY, "missed needs first, then and within", value.position)
            return _HARMLESS
        return Missed(self._simple(first, depth + 1), self._simple(then, depth + 1), self._duration(within))

    def _simple(self, node: Tree, depth: int) -> Condition:
        read = self.condition(node, depth)
        if not all(_is_plain_event(part) for part in (read.parts if isinstance(read, AnyOf) else (read,))):
            self.problem(p.BAD_MISSED, p.BAD_MISSED.rule, node.position)
        return read

    def _stuck(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return Stuck(self._duration(value))

    def _after(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return After(self._duration(value))

    def _any(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return AnyOf(self._parts(value, depth))

    def _all(self, node: Pairs, value: Tree, depth: int) -> Condition:
        return AllOf(self._parts(value, depth))

    def _parts(self, node: Tree, depth: int) -> tuple[Condition, ...]:
        parts = tuple(self.condition(item, depth + 1) for item in self._list(node, "any"))
        if not parts:
            self.problem(p.NO_CONDITION, "a list of no conditions says nothing", node.position)
        return parts

    def _not(self, node: Pairs, value: Tree, depth: int) -> Condition:
        read = self.condition(value, depth + 1)
        within = getattr(read, "counting", Counting()).within
        if not isinstance(read, EventIs | Clicked | Opened | Subscribed | Unsubscribed) or within is not None:
            self.problem(p.BAD_NOT, p.BAD_NOT.rule, value.position)
        return Not(read)

    def _counted(self, node: Pairs) -> dict[str, Any]:
        """Options that all conditions on events share."""
        times, within, per = node.get("times"), node.get("within"), node.get("per")
        if per is not None:
            self._choice(per, ("campaign",), "campaign")
        return {
            "where": self._where(node.get("where")),
            "campaign": self._optional(node.get("campaign"), self._text),
            "after_send": self._optional(node.get("after_send"), self._duration),
            "counting": Counting(
                times=1 if times is None else self._number(times, 1, TIMES),
                within=self._optional(within, self._duration),
                per_campaign=per is not None,
            ),
        }

    def _where(self, node: Tree | None) -> tuple[Test, ...]:
        tests: list[Test] = []
        for key, value in self._mapping(node, "where"):
            if isinstance(value, Pairs):
                if not value.pairs:
                    self.problem(p.BAD_WHERE, f"{key.text} is tested for nothing: add {{eq: VALUE}}", value.position)
                for operator, operand in value.pairs:
                    tests += self._test(key.text, operator, operand)
            else:
                tests += self._test(key.text, Value("eq", "eq", value.position), value)
        return tuple(tests)

    def _test(self, path: str, operator: Value, node: Tree) -> list[Test]:
        name = operator.text
        if name not in _OPERATORS:
            meant = f" (did you mean {_MEANT[name]}?)" if name in _MEANT else did_you_mean(name, _OPERATORS)
            known = ", ".join(_OPERATORS)
            self.problem(p.BAD_WHERE, f"{name!r} is no operator{meant}; there are {known}", operator.position)
            return []
        if not path or len(path) > 256:
            self.problem(p.BAD_WHERE, "a path has 1 to 256 characters", operator.position)
            return []
        fault, value = self._operand(name, node)
        if fault:
            self.problem(p.BAD_WHERE, f"{name} {fault}", node.position)
            return []
        if isinstance(value, str) and (wanted := _meant_test(name, value)):
            told = f"{value!r} is a text, so {name} compares texts only: write {path}: {{{wanted}}}"
            self.problem(p.TEXT_FOR_NUMBER, told, node.position)
        return [Test(path, cast(Any, name), value)]

    def _operand(self, operator: str, node: Tree) -> tuple[str, Any]:
        """What is wrong with the operand (empty: nothing), and its value."""
        if operator == "in":
            values = (
                tuple(item.value for item in node.items if isinstance(item, Value)) if isinstance(node, Items) else ()
            )
            if not isinstance(node, Items) or not values or len(values) != len(node.items) or None in values:
                return "takes a list of texts, numbers or truth values", ()
            if any(isinstance(value, float) and not math.isfinite(value) for value in values):
                return "takes finite numbers", ()
            return "", values
        if not isinstance(node, Value):
            return "takes one value", None
        value = node.value
        if value is None:
            return "never holds with null, which counts as missing: write exists: false", None
        if isinstance(value, float) and not math.isfinite(value):
            return "takes a finite number", None
        if operator == "exists" and not isinstance(value, bool):
            return "takes true or false", None
        if operator in ("gt", "ge", "lt", "le") and isinstance(value, bool):
            return "takes a number or text", None
        if operator in ("prefix", "matches") and not isinstance(value, str):
            return "takes text: put it in quotes", None
        if operator == "matches":
            try:
                re2.compile(value, _QUIET)
            except re2.error as error:
                return f"is no RE2 expression: {error.args[0].decode(errors='replace')}", None
        return "", value

    # --- small values -----------------------------------------------------------------------------------------------

    def _optional(self, node: Tree | None, read: Callable[[Tree], _T]) -> _T | None:
        return None if node is None else read(node)

    def _keys(self, node: Pairs, known: Collection[str], also: Collection[str] = ()) -> Pairs:
        """The mapping with misspelt keys put right, so that a slip is told once and not by all that it leaves out."""
        here, given = [*known, *also], {key.text for key, _ in node.pairs}
        pairs = []
        for key, value in node.pairs:
            if key.text not in known:
                meant = closest(key.text, here)
                listed = f"; known here: {', '.join(here)}" if len(here) < 12 else ""
                hint = f" (did you mean {meant}?)" if meant else listed
                self.problem(p.UNKNOWN_KEY, f"unknown key {key.text[:80]!r}{hint}", key.position)
                if meant is not None and meant not in given:
                    given.add(meant)
                    key = replace(key, text=meant)
            pairs.append((key, value))
        return replace(node, pairs=tuple(pairs))

    def _pairs(self, node: Tree | None, form: str, known: Collection[str]) -> Pairs | None:
        if node is None:
            return None
        if not isinstance(node, Pairs):
            self.problem(p.WRONG_KIND, f"expected {form}", node.position)
            return None
        return self._keys(node, known)

    def _mapping(self, node: Tree | None, key: str) -> tuple[tuple[Value, Tree], ...]:
        if node is None:
            return ()
        if not isinstance(node, Pairs):
            self.problem(p.WRONG_KIND, f"{key} is a mapping: {key}: {{name: value}}", node.position)
            return ()
        self._within_limit(len(node.pairs), key, node.position)
        return node.pairs

    def _list(self, node: Tree | None, key: str) -> tuple[Tree, ...]:
        if node is None:
            return ()
        if not isinstance(node, Items):
            self.problem(
                p.WRONG_KIND, f"{key} takes a list: {key}: [a, b], or lines that begin with '- '", node.position
            )
            return ()
        self._within_limit(len(node.items), key, node.position)
        return node.items

    def _within_limit(self, size: int, key: str, position: Position) -> None:
        limit = LIMITS.get(key, ENTRIES)
        if size > limit:
            self.problem(p.OUT_OF_RANGE, f"{size} entries; at most {limit}", position)

    def _sends(self, node: Tree | None) -> tuple[str, ...]:
        if isinstance(node, Items) and not node.items:
            self.problem(p.NO_EFFECT, "sends names no campaign, which means all of them: leave it out", node.position)
        return self._texts(node, "sends")

    def _texts(self, node: Tree | None, key: str) -> tuple[str, ...]:
        return tuple(self._text(item) for item in self._list(node, key))

    def _text(self, node: Tree) -> str:
        if isinstance(node, Value) and isinstance(node.value, str) and 0 < len(node.text) <= 1024:
            return node.text
        self.problem(p.WRONG_KIND, "expected text of 1 to 1,024 characters (numbers and true in quotes)", node.position)
        return _UNREAD

    def _name(self, node: Tree) -> str:
        if isinstance(node, Value) and isinstance(node.value, str):
            return self._checked_name(node)
        self.problem(p.BAD_NAME, "expected a name, such as webinar-nurture", node.position)
        return "unnamed"

    def _checked_name(self, node: Value) -> str:
        if not _NAME.fullmatch(node.text):
            fixed = re.sub(r"[^a-z0-9_-]+", "_", node.text.lower()).strip("_-")[:64]
            hint = f"; write {fixed}" if _NAME.fullmatch(fixed) else ""
            self.problem(p.BAD_NAME, f"{node.text[:80]!r} is no name ([a-z][a-z0-9_-]*, up to 64){hint}", node.position)
        return node.text

    def _duration(self, node: Tree) -> int:
        try:
            if not isinstance(node, Value):
                raise ValueError("expected a duration such as 48h")
            span = parse_duration(node.text)
            if span == 0:
                raise ValueError("a duration is at least 1s")
        except ValueError as error:
            self.problem(p.BAD_DURATION, str(error), node.position)
            return DAY
        return span

    def _number(self, node: Tree, low: int, high: int) -> int:
        value = node.value if isinstance(node, Value) else None
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(p.WRONG_KIND, "expected a whole number", node.position)
            return low
        if not low <= value <= high:
            self.problem(p.OUT_OF_RANGE, f"{value} is not between {low} and {high}", node.position)
            return low
        return value

    def _boolean(self, node: Tree) -> bool:
        if isinstance(node, Value) and isinstance(node.value, bool):
            return node.value
        self.problem(p.WRONG_KIND, "expected true or false", node.position)
        return False

    def _choice(self, node: Tree | None, words: Sequence[str], default: str | None) -> str | None:
        if node is None:
            return default
        if isinstance(node, Value) and node.text in words:
            return node.text
        given = node.text if isinstance(node, Value) else ""
        expected = words[0] if len(words) == 1 else f"one of {', '.join(words)}"
        self.problem(p.NO_CHOICE, f"expected {expected}{did_you_mean(given, words)}", node.position)
        return default if default is not None else words[0]


@dataclass(frozen=True, slots=True)
class _Entry:
    """``- name: CONDITION`` taken apart; ``own``: keys of the entry itself."""

    name: str
    when: Condition
    own: dict[str, Tree]
    position: Position


_UNREAD = "?"
"""Stands where a text could not be read, so that its fault is told once."""

_HARMLESS = EventIs("unread.condition")
"""Stands where a condition could not be read, so that reading goes on; a file with errors is never compiled."""

_READERS: dict[str, Callable[[_Reader, Pairs, Tree, int], Condition]] = {
    head: getattr(_Reader, f"_{head}") for head in _HEADS
}


def _is_plain_event(condition: Condition) -> bool:
    if isinstance(condition, Unsubscribed):
        return True
    return isinstance(condition, EventIs | Clicked | Opened | Subscribed) and condition.counting == Counting()


def _meant_test(operator: str, text: str) -> str | None:
    """The test that was meant by a text that looks like a comparison, or like a number where order is asked for."""
    compared = _COMPARISON.fullmatch(text) if operator not in ("prefix", "matches") else None
    if compared is not None:
        return f"{_MEANT[compared[1] or compared[2]]}: {_plain(compared[3])}"
    if operator in ("gt", "ge", "lt", "le") and _NUMBER.fullmatch(text.strip()):
        return f"{operator}: {_plain(text.strip())}"
    return None


def _plain(text: str) -> str:
    return text.replace("_", "") if _NUMBER.fullmatch(text) else text


def _acts(condition: Condition) -> bool:
    """Whether some event or timer can make it act: leaves under ``not`` cannot (journeys.md 2, Own events)."""
    if isinstance(condition, AllOf | AnyOf):
        return any(map(_acts, condition.parts))
    return not isinstance(condition, Not)
