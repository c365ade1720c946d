"""What every peer does with an event: look up the contact, drop a repeat, and move it up when the event says so.

Simpler than a journey: no timers, setbacks, consent, credit or written rules for late events. Imports nothing of the
package, so that it also runs in an environment without it. ``kafka_streams/Job.java`` says the same in Java.
"""

from __future__ import annotations

import msgspec

REMEMBERED = 16
"""Event ids of a contact that are remembered. The repeats of the stream come within a few events of their contact."""

TALLY_EVERY = 5_000
"""Events after which a peer without batches of its own writes what it counted."""


class Event(msgspec.Struct, gc=False):
    """What the rule needs of a canonical event; the rest is passed over while decoding."""

    id: str
    type: str
    contact: str
    occurred_at: str
    campaign: str | None = None
    url: str | None = None


class Standing(msgspec.Struct, array_like=True, gc=False):
    """A contact: how far it came, and the ids of its newest events."""

    rank: int = 0
    ids: list[str] = []


class Transition(msgspec.Struct, gc=False):
    """What is told of a move."""

    contact: str
    before: int
    after: int
    at: str
    cause: str


decode = msgspec.json.Decoder(Event).decode
encode = msgspec.json.Encoder().encode
pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Standing).decode


def rank_of(event: Event) -> int:
    """How far an event brings its contact.

    >>> rank_of(Event("1", "email.clicked", "c-1", "", url="https://example.com/pricing/teams"))
    3
    """
    if event.type == "email.delivered":
        return 1
    if event.type == "email.clicked":
        url = event.url or ""
        return 3 if "/pricing/" in url or "/products/" in url else 2
    return 4 if event.type == "order.completed" else 0


def advance(standing: Standing, event: Event) -> tuple[Standing, Transition | None] | None:
    """The contact after ``event`` and its move; None for a repeat, which changes nothing."""
    if event.id in standing.ids:
        return None
    rank = max(standing.rank, rank_of(event))
    after = Standing(rank, [*standing.ids[1 - REMEMBERED :], event.id])
    if rank == standing.rank:
        return after, None
    return after, Transition(event.contact, standing.rank, rank, event.occurred_at, event.id)


class Tally:
    """Events by campaign and type since the last ``take``."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.events = 0

    def add(self, event: Event) -> None:
        key = f"{event.campaign}/{event.type}"
        self._counts[key] = self._counts.get(key, 0) + 1
        self.events += 1

    def take(self) -> bytes:
        """One record with what was counted; counting begins anew."""
        value = encode(self._counts)
        self._counts, self.events = {}, 0
        return value
