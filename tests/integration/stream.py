"""Seeded canonical events that make contacts move, for tests that compare a worker with ``simulate``."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from stagepost.events import DAY, HOUR, rfc3339

JOURNEY = """
journey: nurture
links:
  pricing: {url: example.com/pricing/**, means: intent}
stages:
  - subscribed: contact.subscribed
  - engaged: {clicked: any}
  - interested: {any: [{clicked: pricing}, {clicked: any, times: 3, within: 7d, per: campaign}]}
  - customer: {when: {event: order.completed, where: {total: {gt: 0}}}, stalls_after: 20d}
setbacks:
  - drifting: {no_click: {sends: 3, grace: 48h}}
  - dormant: {quiet: 6d}
  - email_off: {unsubscribed: any}
recover: {clicked: any}
exits:
  - complained: email.complained
  - expired: {after: 25d}
reenter: {after: 1d, never_after: [complained]}
goal: {reach: customer, within: 20d}
"""


def events(seed: int, contacts: int, count: int, start: int) -> Iterator[tuple[str, bytes]]:
    """``count`` (contact, event) over 30 days from ``start`` (micros), with repeats, disorder and late ones."""
    chance = random.Random(seed)
    step = 30 * DAY // count
    recent: list[tuple[str, bytes]] = []
    for n in range(count):
        if recent and chance.random() < 0.02:
            yield chance.choice(recent)
            continue
        contact = f"c{int(contacts * chance.random() ** 2)}"
        at = start + n * step + chance.randrange(step)
        late = chance.random()
        if late < 0.05:
            at -= chance.randrange(20 * HOUR)
        elif late < 0.07:
            at -= DAY + chance.randrange(3 * DAY)
        body = {"id": f"e{seed}-{n}", "occurred_at": rfc3339(at), "contact": contact, **_facts(chance, at - start)}
        made = contact, json.dumps(body).encode()
        recent = [*recent[-50:], made]
        yield made


def _facts(chance: random.Random, since: int) -> dict[str, object]:
    campaign = f"weekly-{since // (2 * DAY)}"
    send = {"campaign": campaign, "message": f"{campaign}-m", "provider": "sendgrid"}
    url = chance.choice(["https://example.com/pricing/a", "https://example.com/blog/b", "https://example.com/"])
    kind = chance.random()
    if kind < 0.15:
        return {"type": "contact.subscribed"}
    if kind < 0.45:
        return {"type": "email.delivered", **send}
    if kind < 0.60:
        return {"type": "email.opened", "machine": chance.choice([True, False, None]), **send}
    if kind < 0.85:
        return {"type": "email.clicked", "machine": chance.choice([False, False, None, True]), "url": url, **send}
    if kind < 0.92:
        return {"type": "order.completed", "data": {"total": chance.choice([0, 10, 99.5])}}
    if kind < 0.96:
        return {"type": "email.unsubscribed", "scope": "list", "scope_id": "news", **send}
    if kind < 0.998:
        return {"type": "email.resubscribed", "scope": "list", "scope_id": "news"}
    return {"type": "email.complained", **send}
