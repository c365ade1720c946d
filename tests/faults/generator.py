"""Seeded events without end: waves of contacts that are born, move for a month of their own time, and are done.

Contacts of a wave share the partitions; repeats, disorder, late ones, malformed ones and erasures included. A wave is
small enough that a naive oracle can replay each contact.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.integration.stream import events

from stagepost.events import DAY, rfc3339

WAVE = 4_000
CONTACTS = 200

MALFORMED = b'{"id": "cut off'
"""An event that is no JSON: once in ``ODD`` events."""

ODD = 400
"""So often something odd comes: in turn a malformed event, and somebody is erased, of whom more is heard afterwards."""


def stream(seed: int, start: int) -> Iterator[tuple[str, bytes]]:
    """(contact, event) from ``start`` (micros) on, a month of event time for each wave."""
    wave = 0
    while True:
        begin = start + wave * 30 * DAY
        for number, (contact, body) in enumerate(events(seed * 100_000 + wave, CONTACTS, WAVE, begin), 1):
            name = f"w{wave}-{contact}"
            if number % ODD == 0:
                at = rfc3339(begin + number * 30 * DAY // WAVE)
                if number % (2 * ODD):
                    yield name, MALFORMED
                else:
                    gone = {"id": f"gone-{wave}-{number}", "type": "contact.erased", "occurred_at": at, "contact": name}
                    yield name, json.dumps(gone).encode()
            yield name, body.replace(f'"contact": "{contact}"'.encode(), f'"contact": "{name}"'.encode())
        wave += 1
