"""A seeded stream of canonical events, made by the real normaliser from SendGrid's form, and journeys to fold it with.

Pure but for the generator's seed. The mix is that of performance.md 1: a skewed choice of contacts, one event in ten
moves somebody, one in fifty is a repeat.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice

from stagepost.events import MICROS, Event, encode_json, parse_rfc3339, rfc3339
from stagepost.journey.definition import Journey
from stagepost.journey.parse import parse_journey
from stagepost.normalise import Post, normalise

START = parse_rfc3339("2026-11-02T00:00:00Z")
_BATCH = 100
_KINDS = ("processed", "delivered", "open", "click", "activity", "order")
_WEIGHTS = (30, 30, 22, 10, 7, 1)
_REPEATS = 0.02
_PAGES = (
    "https://example.com/blog/{n}?utm_source=mail&utm_campaign={c}",
    "https://example.com/products/kettle-{n}?utm_source=mail&utm_campaign={c}",
    "https://example.com/pricing/teams?utm_source=mail&utm_campaign={c}",
    "https://example.com/webinars/streams-{n}?utm_source=mail&utm_campaign={c}",
)

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"

_LINKS = """\
journey: bench
sends: ["nurture-*"]
links:
  pricing: {url: example.com/pricing/**, means: intent}
  product: example.com/products/*
  webinar: example.com/webinars/*
  blog: example.com/blog/**
  leave: {url: "example.com/preferences/**", means: disengagement}
"""

_FIVE = """\
stages:
  - subscribed: {event: email.delivered}
  - interested: {clicked: [pricing, product]}
  - customer: {event: order.completed, where: {total: {gt: 0}}}
"""
_FIVE_END = """\
setbacks:
  - drifting: {no_click: {sends: 3, grace: 48h}}
recover: {clicked: any}
"""

_WHOLE = """\
stages:
  - subscribed: {event: email.delivered}
  - engaged: {clicked: any}
  - interested: {clicked: [pricing, product]}
  - registered: {clicked: webinar, times: 2, within: 7d}
  - customer: {event: order.completed, where: {total: {gt: 0}}}
setbacks:
  - drifting: {no_click: {sends: 3, grace: 48h}}
  - dormant: {quiet: 14d}
recover: {clicked: any}
exits:
  - unsubscribed: {unsubscribed: all}
"""

FEWEST = 5
"""Conditions of the smallest journey: three stages, a setback and what ends it. The stream touches all of them."""

_OTHER = ("{event: other.activity_%d}", "{clicked: other_%d}", "{event: email.opened, campaign: other-%d}")
_IN_ONE_STAGE = 40


WHOLE = _LINKS + _WHOLE
"""The file of ``whole_journey``."""


def whole_journey() -> Journey:
    """The journey of performance.md 3: five stages, two setbacks, five links."""
    return _parsed(WHOLE)


def journey(conditions: int) -> Journey:
    """A journey of so many conditions. No event of the stream can touch those beyond ``FEWEST``: custom activities,
    clicks of other links and opens of other campaigns, in equal parts."""
    others = range(conditions - FEWEST)
    texts = [_OTHER[n % len(_OTHER)] % n for n in others]
    links = "".join(f"  other_{n}: other.example.com/p/{n}\n" for n in others if n % len(_OTHER) == 1)
    groups = [texts[start : start + _IN_ONE_STAGE] for start in range(0, len(texts), _IN_ONE_STAGE)]
    stages = "".join(f"  - other_{place}: {{any: [{', '.join(group)}]}}\n" for place, group in enumerate(groups))
    return _parsed(_LINKS + links + _FIVE + stages + _FIVE_END)


def _parsed(text: str) -> Journey:
    result = parse_journey(text, "bench.yaml")
    if result.journey is None:
        raise AssertionError([str(problem) for problem in result.problems])
    return result.journey


def events(count: int, contacts: int, seed: int, step_s: float = 1.0) -> list[Event]:
    """``count`` canonical events in time order, ``step_s`` of event time apart."""
    return list(flow(count, contacts, seed, step_s))


def flow(count: int, contacts: int, seed: int, step_s: float = 1.0) -> Iterator[Event]:
    """The same one by one, for more events than one wants to hold."""
    made = (
        (posted,) if isinstance(posted, Event) else _normalised(posted, at)
        for at, posted in posts(count, contacts, seed, step_s)
    )
    return islice(chain.from_iterable(made), count)


def _normalised(body: bytes, at: int) -> tuple[Event, ...]:
    post = Post(provider="sendgrid", account="default", body=body, headers={}, received_at=at)
    return normalise(post).events


def encoded(stream: Sequence[Event]) -> list[bytes]:
    """Values of ``email.events``."""
    return [encode_json(event) for event in stream]


def posts(count: int, contacts: int, seed: int, step_s: float = 1.0) -> Iterator[tuple[int, bytes | Event]]:
    """Webhook bodies of up to 100 events with the time of their arrival, and company events between them."""
    rng = random.Random(f"bench {seed}")
    weights = list(accumulate(1 / (rank + 10) ** 0.7 for rank in range(contacts)))
    population = range(contacts)
    batch: list[dict[str, object]] = []
    at, made = START, 0
    while made < count:
        at += round(step_s * MICROS)
        made += 1
        [number] = rng.choices(population, cum_weights=weights)
        contact = f"c-{number:07d}"
        [kind] = rng.choices(_KINDS, _WEIGHTS)
        if batch and rng.random() < _REPEATS:
            batch.append(rng.choice(batch))
        elif kind in ("activity", "order"):
            type_ = "product.viewed" if kind == "activity" else "order.completed"
            yield (
                at,
                Event(
                    id=f"{kind}-{made}",
                    type=type_,
                    occurred_at=rfc3339(at),
                    contact=contact,
                    data={"total": 49.0, "page": f"/p/{made % 97}"},
                ),
            )
        else:
            campaign = f"nurture-{(at - START) // (2 * 86_400 * MICROS) % 40}"
            event = _sendgrid(kind, number, campaign, at)
            if kind == "click":
                event["url"] = rng.choice(_PAGES).format(n=made % 50, c=campaign)
            elif kind == "open":
                event["sg_machine_open"] = rng.random() < 0.2
            batch.append(event)
        if len(batch) == _BATCH:
            yield at, _body(batch)
            batch = []
    if batch:
        yield at, _body(batch)


def _sendgrid(kind: str, number: int, campaign: str, at: int) -> dict[str, object]:
    """One element of a SendGrid post, of the size that they have in the field."""
    message = f"m{number}x{campaign}"
    event: dict[str, object] = {
        "email": f"person{number}@example.com",
        "timestamp": at // MICROS,
        "event": kind,
        "sg_message_id": f"{message}.recvd-6d8f7c9b5-x2k4p-1-66A1B2C3-4.0",
        "sg_event_id": f"{kind}-{number}-{at}",
        "category": [campaign],
        "contact_id": f"c-{number:07d}",
        "campaign_id": campaign,
    }
    if kind in ("processed", "delivered"):
        event["smtp-id"] = f"<{message}@geopod-ismtpd-12>"
    else:
        event |= {"ip": "203.0.113.24", "useragent": _BROWSER, "sg_content_type": "html"}
    return event


def _body(batch: Sequence[dict[str, object]]) -> bytes:
    return json.dumps(batch, separators=(",", ":")).encode()
