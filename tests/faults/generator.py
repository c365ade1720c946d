"""Seeded events without end: waves of contacts that are born, move for a month of their own time, and are done.

Contacts of a wave share the partitions; repeats, disorder and late ones included. A wave is small enough that a naive
oracle can replay each contact.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.stream import events

from stagepost.events import DAY

WAVE = 4_000
CONTACTS = 200


def stream(seed: int, start: int) -> Iterator[tuple[str, bytes]]:
    """(contact, event) from ``start`` (micros) on, a month of event time for each wave."""
    wave = 0
    while True:
        for contact, body in events(seed * 100_000 + wave, CONTACTS, WAVE, start + wave * 30 * DAY):
            yield (
                f"w{wave}-{contact}",
                body.replace(f'"contact": "{contact}"'.encode(), f'"contact": "w{wave}-{contact}"'.encode()),
            )
        wave += 1
