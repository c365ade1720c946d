"""What the broker still has of one contact: its events, and the records of its moves.

Reads the contact's partition of both topics from the beginning, as nobody's member, and keeps what is the contact's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stagepost.edges.tail import Tail
from stagepost.edges.topics import TopicNames
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import Record, Topic
from stagepost.engine.story import Told, told_of
from stagepost.events import Event, Transition

MOST = 10_000
"""Events and moves that are kept of a contact; the newest stay."""

_BATCH = 5_000
_SILENT_S = 15.0

_decode = msgspec.json.Decoder(Transition).decode


@dataclass(slots=True)
class Past:
    """Events with their times, and moves, each in the order of the log. ``whole``: the end was reached."""

    events: list[tuple[Event, int]] = field(default_factory=list)
    moves: list[Told] = field(default_factory=list)
    whole: bool = False


def past_of(contact: str, settings: Mapping[str, Any], prefix: str, progress: Callable[[int, int], None]) -> Past:
    """``settings``: of librdkafka. ``progress``: called with the records read and about how many there are."""
    past, key = Past(), contact.encode()
    tail = Tail(settings, TopicNames(prefix), (Topic.EVENTS, Topic.TRANSITIONS), key)
    try:
        for records in tail.to_end(_BATCH, _SILENT_S, progress):
            for record in records:
                if record.key == key:
                    _take(past, record)
        past.whole = tail.at_end()
        return past
    finally:
        tail.close()


def _take(past: Past, record: Record) -> None:
    if record.topic is Topic.EVENTS:
        incoming = read_event(record.value, headers=record.headers, broker_time=record.timestamp)
        if isinstance(incoming, Incoming):
            past.events.append((incoming.event, incoming.at))
            del past.events[:-MOST]
        return
    try:
        past.moves.append(told_of(_decode(record.value or b"")))
    except msgspec.DecodeError:
        return
    del past.moves[:-MOST]
