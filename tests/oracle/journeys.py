"""Random journeys as YAML text: every word of the language, in its long and short forms, over few names and spans.

The spans are the gaps that ``streams`` lets pass between events, so that bounds are met exactly, one second early and
one second late.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.oracle import language

SHORT = ("2s", "5s", "10s", "1m", "5m")
LONG = ("1h", "6h", "1d", "2d", "3d", "1w")
TYPES = (
    "email.delivered",
    "email.sent",
    "email.clicked",
    "email.opened",
    "email.replied",
    "email.bounced",
    "email.complained",
    "email.unsubscribed",
    "email.suppressed",
    "contact.subscribed",
    "contact.consent_given",
    "page.seen",
    "order.completed",
)
LINKS = {
    "pricing": {"url": "example.com/pricing/**", "means": "intent"},
    "blog": "example.com/blog/*",
    "leave": {"url": "example.com/leave", "means": "disengagement"},
    "shop": "*.shop.example.com",
    "plan": {"url": "example.com/plan?tier=gold"},
    "site": "example.com/**",
}
CAMPAIGNS = ("n-*", "n-1", "w-*", "*")
SCOPES: tuple[Any, ...] = (
    "any",
    "any",
    "all",
    "a",
    "a*",
    {"scope": "list", "id": "a"},
    {"scope": "topic", "id": "*"},
    {"scope": "topic"},
)
WHERES: tuple[dict[str, Any], ...] = (
    {"n": {"ge": 2}},
    {"n": 1},
    {"n": {"gt": 0, "lt": 2}},
    {"plan": "pro"},
    {"plan": {"in": ["pro", "free"]}},
    {"plan": {"ne": "pro"}},
    {"plan": {"prefix": "p"}},
    {"plan": {"matches": "r.$"}},
    {"deep.n": {"le": 1}},
    {"campaign": {"exists": False}},
    {"class": "hard"},
    {"vip": True},
    {"n": {"exists": True}},
    {"url": {"prefix": "https:"}},
    {"machine": False},
    {"type": "page.seen", "message": {"exists": False}},
    {"recipient_certainty": {"ne": "candidate"}},
)


def journey(random: Random, name: str = "j") -> str:
    return language.dump(_Maker(random).journey(name))


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.short = random.random() < 0.3
        self.slow = False
        """Ways out of a setback take days, or a contact goes to and fro by timers thousands of times."""

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def span(self) -> str:
        if self.slow:
            return self.one("1d", "2d", "1w")
        return self.one(*(SHORT if self.short and self.often(0.7) else LONG))

    def journey(self, name: str) -> dict[str, Any]:
        made: dict[str, Any] = {"journey": name}
        if self.often(0.4):
            made["sends"] = self.one(["n-*"], ["n-1", "w-*"])
        made["links"] = LINKS
        stages = [f"s{n}" for n in range(1, self.one(1, 2, 3, 3, 4) + 1)]
        first = self.often(0.8)
        made["stages"] = [
            {stage: self.stage(self.entry() if first and not place else self.condition(0.15))}
            for place, stage in enumerate(stages)
        ]
        made["setbacks"] = [{f"b{n}": self.setback(stages)} for n in range(1, self.one(0, 1, 2, 3, 3) + 1)]
        made["recover"] = self.one({"clicked": "any"}, self.way_out(0.1))
        made["exits"] = [{f"x{n}": self.wrapped(self.condition(0.2))} for n in range(1, self.one(0, 0, 1, 2) + 1)]
        names = [next(iter(exit_)) for exit_ in made["exits"]]
        if self.often(0.6):
            never = {"never_after": [self.one(*names)]} if names and self.often(0.4) else {}
            made["reenter"] = self.one("always", "always", "never", {"after": self.span(), **never})
        if self.often(0.5):
            within = {"within": self.span()} if self.often(0.6) else {}
            made["goal"] = {"reach": self.one(*stages), **within}
            if made["goal"]["reach"] == "s1":
                for setback in made["setbacks"]:
                    next(iter(setback.values()))["from"] = ["s1"]
        if self.often(0.3):
            made["enter"] = self.one("first", "any")
        if self.often(0.25):
            made["consent"] = self.one(
                "tracking", {"purpose": "tracking", "default": "granted"}, {"purpose": "tracking", "default": "denied"}
            )
        if self.often(0.3):
            made["bots"] = self.one(
                "off",
                {"instant": "5s", "hold": "1m"},
                {"burst": {"urls": 2, "within": "5s"}, "near": "1h", "hold": "5s"},
            )
        if self.often(0.3):
            made["lateness"] = self.one("1s", "10s", "1h", "2d")
        if self.often(0.2):
            made["attribution"] = {"window": self.one("1h", "1d")}
        return made

    def wrapped(self, condition: Any, **keys: Any) -> Any:
        """The condition in one of the forms that mean the same."""
        if isinstance(condition, str) or self.often(0.3):
            return {"when": condition, **keys} if keys or self.often(0.3) else condition
        return {**condition, **keys}

    def stage(self, condition: Any) -> Any:
        return self.wrapped(condition, **({"stalls_after": self.span()} if self.often(0.35) else {}))

    def setback(self, stages: list[str]) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        if self.often(0.4):
            keys["from"] = sorted(self.random.sample(stages, self.random.randint(1, len(stages))))
        if self.often(0.35):
            keys["until"] = self.one("never", self.way_out(0.3), self.way_out(0.3))
        made = self.wrapped(self.one(self.timer, self.timer, self.withdrawal, lambda: self.condition(0.4))(), **keys)
        return {"when": made} if isinstance(made, str) or (not keys and "when" not in made) else made

    def way_out(self, timers: float) -> Any:
        self.slow = True
        made = self.condition(timers)
        self.slow = False
        return made

    def entry(self) -> Any:
        """What comes soon in nearly every stream."""
        ways = ["contact.subscribed", "email.delivered", "page.seen", {"clicked": "any"}, {"subscribed": "any"}]
        return self.one(*ways, {"any": self.random.sample(ways, self.one(2, 3))})

    def condition(self, timers: float, depth: int = 1) -> Any:
        if self.often(timers):
            return self.timer()
        if depth < 3 and self.often(0.3):
            parts = [self.condition(timers, depth + 1) for _ in range(self.one(1, 2, 2, 3))]
            kind = self.one("any", "all")
            if self.often(0.3):
                return {"all": [*parts, {"not": self.plain(counted=True)}]}
            return {kind: parts}
        return self.withdrawal() if self.often(0.1) else self.plain(counted=True, windowed=True)

    def timer(self) -> dict[str, Any]:
        kinds = (self.no_click, self.no_click, self.quiet, self.missed, self.missed, self.stuck, self.after)
        return self.one(*kinds)()

    def no_click(self) -> dict[str, Any]:
        count = {"count": self.one("sent", "delivered")} if self.often(0.4) else {}
        return {"no_click": {"sends": self.one(1, 1, 2, 2, 3), "grace": self.span(), **count}}

    def quiet(self) -> dict[str, Any]:
        return {"quiet": self.one(self.span(), {"for": self.span(), "opens": self.often(0.5)})}

    def stuck(self) -> dict[str, Any]:
        return {"stuck": self.span()}

    def after(self) -> dict[str, Any]:
        return {"after": self.span()}

    def missed(self) -> dict[str, Any]:
        return {"missed": {"first": self.side(), "then": self.side(), "within": self.span()}}

    def side(self) -> Any:
        def one() -> Any:
            common = self.one({"clicked": "any"}, "email.delivered", "page.seen", "email.opened", {"clicked": "blog"})
            return common if self.often(0.5) else self.withdrawal() if self.often(0.2) else self.plain()

        return {"any": [one(), one()]} if self.often(0.2) else one()

    def withdrawal(self) -> dict[str, Any]:
        made: dict[str, Any] = {"unsubscribed": self.one(*SCOPES)}
        if self.often(0.3):
            made["after_send"] = self.span()
            if self.often(0.5):
                made["campaign"] = self.one(*CAMPAIGNS)
        return made

    def plain(self, counted: bool = False, windowed: bool = False) -> Any:
        made = self.one(self.typed, self.typed, self.clicked, self.clicked, self.opened, self.subscribed)()
        if isinstance(made, str):
            return made
        if counted and self.often(0.35):
            made["times"] = self.one(1, 2, 2, 3)
            if self.often(0.4):
                made["per"] = "campaign"
        if windowed and self.often(0.35):
            made["within"] = self.span()
        return made

    def typed(self) -> Any:
        type_ = self.one(*TYPES)
        if self.often(0.4):
            return type_
        made: dict[str, Any] = {"event": type_}
        if self.often(0.5):
            made["where"] = self.one(*WHERES)
        return self.of_campaign(made, after_send=type_ != "email.delivered")

    def clicked(self) -> dict[str, Any]:
        links = self.one(
            "any", "any", "pricing", "blog", "leave", "shop", "plan", "site", ["pricing", "blog"], ["blog", "site"]
        )
        return self.of_campaign({"clicked": links})

    def opened(self) -> dict[str, Any]:
        return self.of_campaign({"opened": "any"})

    def subscribed(self) -> dict[str, Any]:
        return {"subscribed": self.one(*SCOPES)}

    def of_campaign(self, made: dict[str, Any], after_send: bool = True) -> dict[str, Any]:
        if self.often(0.25):
            made["campaign"] = self.one(*CAMPAIGNS)
        if after_send and self.often(0.15):
            made["after_send"] = self.span()
        return made
