"""A journey as data: what a file says, checked and resolved, before it is compiled.

Frozen types only; no parsing (``parse.py``), no evaluation (``conditions.py``), no moves (``step.py``).
All durations and times are micros. ``path`` is the place in the file as records name it (``stages.interested``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stagepost.events import DAY, HOUR, MICROS, MINUTE

SCOPES = ("list", "group", "stream", "topic", "tag")
"""What a subscription can be to, beside all mail."""

Means = Literal["interest", "intent", "disengagement"]
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a file: 1-based line and column."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Link:
    """A name for the places that a click can lead to; ``pattern`` is a ``host/path`` glob (journeys.md 2, Links)."""

    name: str
    pattern: str
    means: Means | None = None


@dataclass(frozen=True, slots=True)
class Test:
    """One operator of ``where`` on one dotted path: ``total gt 0``."""

    path: str
    operator: Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "prefix", "matches", "exists"]
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Counting:
    """How many matching events make a condition hold: ``times``, within ``within`` (None: over the run)."""

    times: int = 1
    within: int | None = None
    per_campaign: bool = False


@dataclass(frozen=True, slots=True)
class EventIs:
    """An event of ``type`` whose fields pass ``where``."""

    type: str
    where: tuple[Test, ...] = ()
    campaign: str | None = None
    after_send: int | None = None
    counting: Counting = Counting()


@dataclass(frozen=True, slots=True)
class Clicked:
    """A human click; ``links`` None is ``any`` (disengagement links left out)."""

    links: tuple[str, ...] | None
    where: tuple[Test, ...] = ()
    campaign: str | None = None
    after_send: int | None = None
    counting: Counting = Counting()


@dataclass(frozen=True, slots=True)
class Opened:
    """A human open."""

    where: tuple[Test, ...] = ()
    campaign: str | None = None
    after_send: int | None = None
    counting: Counting = Counting()


@dataclass(frozen=True, slots=True)
class ScopePattern:
    """Which subscription scopes a condition speaks of.

    ``any``: every scope. ``all``: scope all or domain. ``scope``: one scope (None: any) whose id matches ``id``.
    """

    reach: Literal["any", "all", "scope"]
    scope: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A (re-)subscription occurred in this run."""

    scopes: ScopePattern
    where: tuple[Test, ...] = ()
    campaign: str | None = None
    after_send: int | None = None
    counting: Counting = Counting()


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """A withdrawal is in force now."""

    scopes: ScopePattern
    after_send: int | None = None
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class NoClick:
    """Timer: ``sends`` sends, each at least ``grace`` ago, without a human click since."""

    sends: int
    grace: int
    count: Literal["delivered", "sent"] = "delivered"


@dataclass(frozen=True, slots=True)
class Quiet:
    """Timer: ``span`` without activity."""

    span: int
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Missed:
    """Timer: ``first`` not followed by ``then`` within ``within``."""

    first: Condition
    then: Condition
    within: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """Timer: ``span`` since the last move of the run."""

    span: int


@dataclass(frozen=True, slots=True)
class After:
    """Timer: ``span`` since the run began."""

    span: int


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition


Condition = (
    EventIs
    | Clicked
    | Opened
    | Subscribed
    | Unsubscribed
    | NoClick
    | Quiet
    | Missed
    | Stuck
    | After
    | AnyOf
    | AllOf
    | Not
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A place on the path; list order is the funnel's order."""

    name: str
    when: Condition
    stalls_after: int | None
    path: str
    position: Position


@dataclass(frozen=True, slots=True)
class Setback:
    """A place beside the path. ``sources``: stages it can strike, resolved (the default applied).

    ``until``: how it ends; None takes the default (for ``unsubscribed`` no matching withdrawal left, else ``recover``).
    """

    name: str
    when: Condition
    sources: tuple[str, ...]
    until: Condition | Literal["never"] | None
    path: str
    position: Position


@dataclass(frozen=True, slots=True)
class Exit:
    """An end of the run, from anywhere."""

    name: str
    when: Condition
    path: str
    position: Position


@dataclass(frozen=True, slots=True)
class Goal:
    """The stage that the journey is for; ``within`` of the run's start, or any time."""

    reach: str
    within: int | None = None


@dataclass(frozen=True, slots=True)
class Reenter:
    """Whether a contact may begin another run: ``after`` micros since the exit (None: never), not after some exits."""

    after: int | None = None
    never_after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Consent:
    """The purpose without whose consent no engagement is stored or moves anyone."""

    purpose: str
    default: Literal["granted", "denied"] = "denied"


@dataclass(frozen=True, slots=True)
class Bots:
    """How clicks of unknown origin are judged (journeys.md 2, Machines)."""

    instant: int = 2 * MICROS
    burst_urls: int = 3
    burst_within: int = 10 * MICROS
    near: int = 5 * MINUTE
    hold: int = 10 * MICROS


@dataclass(frozen=True, slots=True)
class TestLine:
    """One event of a test: ``offset`` micros from its start, and the words behind it as typed."""

    offset: int
    words: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expected record of a test: a stall in ``target``, or a move from ``source`` (None: none) to ``target``."""

    offset: int
    kind: Literal["move", "stall"]
    source: str | None
    target: str
    position: Position


@dataclass(frozen=True, slots=True)
class Timeline:
    """One entry of ``tests:``; its clock runs to the last offset named."""

    name: str
    events: tuple[TestLine, ...]
    expect: tuple[Expectation, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Journey:
    """One journey file, whole. ``version`` hashes the meaning: comments and key order do not matter."""

    name: str
    title: str | None
    stages: tuple[Stage, ...]
    version: str
    sends: tuple[str, ...] = ()
    """Campaign globs that count as sends; empty: all."""
    labels: tuple[tuple[str, str], ...] = ()
    links: tuple[Link, ...] = ()
    setbacks: tuple[Setback, ...] = ()
    recover: Condition | None = None
    exits: tuple[Exit, ...] = ()
    enter: Literal["any", "first"] = "any"
    reenter: Reenter | None = None
    """None: never. ``Reenter(after=0)``: always."""
    goal: Goal | None = None
    consent: Consent | None = None
    bots: Bots | None = field(default_factory=Bots)
    """None: off."""
    attribution: int = 7 * DAY
    lateness: int = 24 * HOUR
    on_change: Literal["keep", "reevaluate", "finish"] = "keep"
    tests: tuple[Timeline, ...] = ()
    source: str = ""
    """File name, for messages and ``explain``."""
    text: str = ""
    """What the file says; a partition keeps it for as long as some contact may need this version."""
