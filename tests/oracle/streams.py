"""Random streams of canonical events: ties, disorder within and beyond lateness, duplicates, machines, bursts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2026, 3, 2, tzinfo=UTC)
GAPS = (
    *(0, 0, 1, 2, 3, 5, 10, 60, 300),
    *(3_600, 3_600, 21_600, 86_400, 86_400, 172_800, 259_200),
)
BACKS = (1, 2, 10, 60, 3_600, 21_600, 86_400, 86_401, 172_800, 300_000)
TYPES = (
    *["email.sent"] * 2,
    *["email.delivered"] * 4,
    *["email.clicked"] * 7,
    *["email.opened"] * 2,
    *["email.replied"] * 2,
    "email.bounced",
    "email.suppressed",
    "email.complained",
    *["email.unsubscribed"] * 2,
    *["email.resubscribed"] * 2,
    "email.subscribed",
    *["contact.subscribed"] * 2,
    *["contact.consent_given"] * 2,
    "contact.consent_withdrawn",
    *["page.seen"] * 2,
    *["order.completed"] * 2,
)
REPORTED: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"provider": "resend", "account": "one", "method": "api"},
    {"provider": "resend", "account": "two", "method": "api"},
    {"provider": "postmark", "account": "one", "method": "link"},
    {"provider": "postmark", "account": "one", "method": "api"},
)
"""By whom a word on a subscription came, and how."""

URLS = (
    "https://example.com/pricing",
    "https://example.com/pricing/teams?utm_source=x",
    "http://EXAMPLE.com:80/blog/a/",
    "https://example.com/blog/b#top",
    "https://example.com/leave",
    "https://a.shop.example.com/",
    "https://shop.example.com/",
    "https://example.com/plan?tier=gold&utm_medium=mail",
    None,
)
MESSAGES = {"n-1": ("m1", "m2", None), "n-2": ("m3",), "w-1": ("m4", None), None: ("m5", "m6", None)}


def stream(random: Random) -> list[dict[str, Any]]:
    return _Maker(random).stream()


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 0
        self.number = 0
        self.contacts = random.choice((("x",), ("x",), ("x", "y")))
        self.gaps = random.choice((GAPS, GAPS, GAPS[:9], GAPS[7:]))
        self.disorder = random.choice((0.0, 0.2, 0.5))
        self.events: list[dict[str, Any]] = []

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def stream(self) -> list[dict[str, Any]]:
        for _ in range(self.random.choice((4, 10, 20, 30))):
            self.some()
        return self.events

    def some(self) -> None:
        self.now += self.random.choice(self.gaps)
        if self.often(0.1):
            self.now += self.random.choice((-1, 1))
        if self.often(0.12):
            self.burst()
        elif self.often(0.15):
            self.send()
        else:
            self.add(self.random.choice(TYPES))
        if self.events and self.often(0.05):
            self.events.append(self.random.choice(self.events[-4:]))
        if self.often(0.004):
            self.add("contact.erased")

    def send(self) -> None:
        """Sent, delivered, and sometimes a click soon after."""
        contact, (campaign, message) = self.random.choice(self.contacts), self.named()
        for type_ in ("email.sent", "email.delivered"):
            self.add(type_, contact=contact, campaign=campaign, message=message)
        if self.often(0.6):
            self.now += self.random.choice((0, 1, 2, 3, 10, 299, 300, 301, 3_600))
            self.add("email.clicked", contact=contact, campaign=campaign, message=message)

    def burst(self) -> None:
        contact, (campaign, message) = self.random.choice(self.contacts), self.named()
        if self.often(0.8):
            self.add("email.delivered", contact=contact, campaign=campaign, message=message)
            self.now += self.random.choice((1, 3, 5, 60, 290, 300, 301, 900))
        for _ in range(self.random.choice((2, 3, 3, 4))):
            machine = self.random.choice((None, None, None, None, False))
            self.add("email.clicked", contact=contact, campaign=campaign, message=message, machine=machine)
            self.now += self.random.choice((0, 1, 2, 4, 5, 5, 10))

    def named(self) -> tuple[str | None, str | None]:
        campaign = self.random.choice((*MESSAGES, "n-1", "n-2"))
        return campaign, self.random.choice(MESSAGES[campaign])

    def add(self, type_: str, **fields: Any) -> None:
        back = self.random.choice(BACKS) if self.often(self.disorder) else 0
        half = timedelta(milliseconds=self.random.choice((0, 0, 0, 0, 0, 0, 500)))
        at = max(START, START + timedelta(seconds=self.now - back) + half)
        self.number += 1
        event: dict[str, Any] = {
            "id": f"e{self.number}",
            "type": type_,
            "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "contact": self.random.choice(self.contacts),
        }
        if type_.startswith("email."):
            event["campaign"], event["message"] = self.named()
        if type_ == "email.clicked":
            event["url"] = self.random.choice(URLS)
        event.update(self.machine(type_))
        event.update(self.extra(type_))
        event.update(fields)
        if self.often(0.03):
            event["test"] = True
        self.events.append(event)

    def machine(self, type_: str) -> dict[str, Any]:
        if type_ in ("email.clicked", "email.opened", "email.replied"):
            return {"machine": self.random.choice((False, False, None, None, True))}
        return {"machine": True} if self.often(0.05) and not type_.startswith("contact.consent") else {}

    def extra(self, type_: str) -> dict[str, Any]:
        if type_ in ("email.unsubscribed", "email.resubscribed", "email.subscribed"):
            scope = self.random.choice(
                (
                    {},
                    {"scope": "all"},
                    {"scope": "domain"},
                    {"scope": "list", "scope_id": "a"},
                    {"scope": "list", "scope_id": "a"},
                    {"scope": "topic", "scope_id": "ab"},
                    {"scope": "topic", "scope_id": "a"},
                )
            )
            return {**scope, **self.random.choice(REPORTED)}
        if type_ in ("email.clicked", "email.opened", "email.replied"):
            return self.random.choice(
                (
                    *[{}] * 8,
                    {"variant": "unique"},
                    {"recipient_certainty": "candidate"},
                    {"recipient_certainty": "exact"},
                )
            )
        if type_ == "email.bounced":
            return {"class": self.random.choice(("hard", "soft"))}
        if type_.startswith("contact.consent"):
            return self.random.choice(
                ({}, {"purpose": "tracking"}, {"data": {"purpose": "tracking"}}, {"purpose": "ads"})
            )
        if type_ in ("page.seen", "order.completed"):
            return {
                "data": self.random.choice(DATA),
                "metadata": self.random.choice(({}, {}, {"n": "2"}, {"plan": "pro"})),
            }
        return {}


DATA: tuple[dict[str, Any], ...] = (
    {},
    {"n": 1},
    {"n": 2},
    {"n": 2.5, "plan": "free"},
    {"n": "2", "plan": "pro"},
    {"n": True, "vip": True},
    {"n": None, "plan": "pro"},
    {"deep": {"n": 1}},
    {"deep": 1, "vip": 1},
)
