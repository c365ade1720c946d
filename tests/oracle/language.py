"""Journey files as plain trees: long and short forms become one form, durations become microseconds."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

SECOND = 1_000_000
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND, "w": 604_800 * SECOND}
EVENT_LIKE = ("event", "clicked", "opened", "subscribed", "unsubscribed")
TIMERS = ("no_click", "quiet", "missed", "stuck", "after")
KINDS = (*EVENT_LIKE, *TIMERS, "any", "all", "not")


def duration(text: Any) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


@dataclass(frozen=True)
class Condition:
    """One node; ``number`` tells apart two nodes that say the same."""

    kind: str
    number: int
    parts: tuple[Condition, ...] = ()
    of: Any = None
    """``event``: the type; ``clicked``: None for any, else names of links; ``subscribed``: any, all, (scope, glob)."""
    where: tuple[tuple[str, str, Any], ...] = ()
    campaign: str | None = None
    times: int = 1
    within: int | None = None
    per_campaign: bool = False
    after_send: int | None = None
    span: int = 0
    sends: int = 0
    at: str = "email.delivered"
    opens: bool = False

    def leaves(self) -> list[Condition]:
        """Leaves that can act: all but those under ``not``. ``missed`` is one leaf, a timer."""
        if self.kind in ("any", "all"):
            return [leaf for part in self.parts for leaf in part.leaves()]
        return [] if self.kind == "not" else [self]


@dataclass(frozen=True)
class Rule:
    name: str
    path: str
    when: Condition
    stalls_after: int | None = None
    from_: tuple[str, ...] = ()
    until: Condition | str | None = None


@dataclass(frozen=True)
class Journey:
    name: str
    sends: tuple[str, ...]
    links: dict[str, tuple[str, str]]
    stages: tuple[Rule, ...]
    setbacks: tuple[Rule, ...]
    exits: tuple[Rule, ...]
    recover: Condition | None
    enter: str
    reenter_after: int | None
    """None: never."""
    reenter_always: bool
    never_after: tuple[str, ...]
    goal: str | None
    goal_within: int | None
    consent: tuple[str, bool] | None
    """Purpose, and whether it counts as given before anybody said so."""
    bots: dict[str, int] | None
    lateness: int
    attribution: int


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def dump(tree: Any) -> str:
    buffer = io.StringIO()
    YAML(typ="safe", pure=True).dump(tree, buffer)
    return buffer.getvalue()


def read(text: str) -> Journey:
    return _Reader().journey(load(text))


class _Reader:
    def __init__(self) -> None:
        self.numbers = itertools.count()

    def journey(self, raw: dict[str, Any]) -> Journey:
        stages = tuple(self.rule("stages", item) for item in raw["stages"])
        names = [stage.name for stage in stages]
        goal = raw.get("goal") or {}
        below = names[: names.index(goal["reach"])] if goal else names
        reenter = raw.get("reenter", "never")
        always = reenter == "always"
        sends = raw.get("sends", [])
        return Journey(
            name=raw["journey"],
            sends=tuple([sends] if isinstance(sends, str) else sends),
            links={
                name: (link, "interest") if isinstance(link, str) else (link["url"], link.get("means", "interest"))
                for name, link in (raw.get("links") or {}).items()
            },
            stages=stages,
            setbacks=tuple(self.rule("setbacks", item, below) for item in raw.get("setbacks", [])),
            exits=tuple(self.rule("exits", item) for item in raw.get("exits", [])),
            recover=self.condition(raw["recover"]) if "recover" in raw else None,
            enter=raw.get("enter", "any"),
            reenter_after=None if reenter == "never" else 0 if always else duration(reenter.get("after", "0s")),
            reenter_always=always,
            never_after=() if isinstance(reenter, str) else tuple(reenter.get("never_after", ())),
            goal=goal.get("reach"),
            goal_within=duration(goal["within"]) if "within" in goal else None,
            consent=_consent(raw.get("consent")),
            bots=_bots(raw.get("bots")),
            lateness=duration(raw.get("lateness", "24h")),
            attribution=duration((raw.get("attribution") or {}).get("window", "7d")),
        )

    def rule(self, section: str, item: dict[str, Any], below: list[str] | None = None) -> Rule:
        ((name, body),) = item.items()
        own: dict[str, Any] = {}
        if isinstance(body, dict):
            own = {key: value for key, value in body.items() if key in ("stalls_after", "from", "until")}
            rest = {key: value for key, value in body.items() if key not in own}
            body = rest.get("when", rest)
        until = own.get("until")
        return Rule(
            name=name,
            path=f"{section}.{name}",
            when=self.condition(body),
            stalls_after=duration(own["stalls_after"]) if "stalls_after" in own else None,
            from_=tuple(own.get("from", below or ())),
            until=until if until in (None, "never") else self.condition(until),
        )

    def condition(self, raw: Any) -> Condition:
        number = next(self.numbers)
        if isinstance(raw, str):
            return Condition("event", number, of=raw)
        # "after" is a condition of its own only where no other word is.
        kind = next(kind for kind in KINDS if kind in raw)
        value = raw[kind]
        if kind in ("any", "all"):
            return Condition(kind, number, parts=tuple(self.condition(part) for part in value))
        if kind == "not":
            return Condition(kind, number, parts=(self.condition(value),))
        if kind in ("stuck", "after"):
            return Condition(kind, number, span=duration(value))
        if kind == "quiet":
            long = value if isinstance(value, dict) else {"for": value}
            return Condition(kind, number, span=duration(long["for"]), opens=long.get("opens", False))
        if kind == "no_click":
            at = "email." + value.get("count", "delivered")
            return Condition(kind, number, sends=value["sends"], span=duration(value["grace"]), at=at)
        if kind == "missed":
            parts = (self.condition(value["first"]), self.condition(value["then"]))
            return Condition(kind, number, parts=parts, span=duration(value["within"]))
        return Condition(
            kind,
            number,
            of=_object(kind, value),
            where=tuple(_tests(raw.get("where") or {})),
            campaign=raw.get("campaign"),
            times=raw.get("times", 1),
            within=duration(raw["within"]) if "within" in raw else None,
            per_campaign=raw.get("per") == "campaign",
            after_send=duration(raw["after_send"]) if "after_send" in raw else None,
        )


def _object(kind: str, value: Any) -> Any:
    if kind == "clicked":
        return None if value == "any" else (value,) if isinstance(value, str) else tuple(value)
    if kind in ("subscribed", "unsubscribed"):
        if isinstance(value, dict):
            return (value["scope"], value.get("id", "*"))
        return value if value in ("any", "all") else (None, value)
    return value


def _tests(where: dict[str, Any]) -> list[tuple[str, str, Any]]:
    tests = []
    for path, test in where.items():
        operators = test if isinstance(test, dict) else {"eq": test}
        tests += [(path, operator, value) for operator, value in operators.items()]
    return tests


def _consent(raw: Any) -> tuple[str, bool] | None:
    if raw is None:
        return None
    long = raw if isinstance(raw, dict) else {"purpose": raw}
    return long["purpose"], long.get("default", "denied") == "granted"


def _bots(raw: Any) -> dict[str, int] | None:
    if raw == "off":
        return None
    raw = raw or {}
    burst = raw.get("burst", {})
    return {
        "instant": duration(raw.get("instant", "2s")),
        "urls": burst.get("urls", 3),
        "within": duration(burst.get("within", "10s")),
        "near": duration(raw.get("near", "5m")),
        "hold": duration(raw.get("hold", "10s")),
    }
