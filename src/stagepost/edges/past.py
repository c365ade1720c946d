"""What the broker still has of one contact: its events, its dead letters, and the records of its moves.

Reads the partitions where the contact's records lie, or lay before there were more partitions, from the beginning, as
nobody's member, and keeps what is the contact's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stagepost.edges.tail import Tail
from stagepost.edges.topics import TopicNames
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import Record, Topic
from stagepost.engine.retries import DeadLetter, read_dead_letter
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
    letters: list[DeadLetter] = field(default_factory=list)
    """Dead letters of ``email.events``, whose bytes could not be read as an event."""
    whole: bool = False


def past_of(contact: str, settings: Mapping[str, Any], prefix: str, progress: Callable[[int, int], None]) -> Past:
    """``settings``: of librdkafka. ``progress``: called with the records read and about how many there are."""
    past, key = Past(), contact.encode()
    kept: dict[Topic, list[Record]] = {topic: [] for topic in (Topic.EVENTS, Topic.TRANSITIONS, Topic.EVENTS_DLQ)}
    tail = Tail(settings, TopicNames(prefix), kept, key, ever=True)
    try:
        for records in tail.to_end(_BATCH, _SILENT_S, progress):
            for record in records:
                if record.key == key:
                    kept[record.topic].append(record)
            for mine in kept.values():
                if len(mine) > 2 * MOST:
                    _shorten(mine)
        past.whole = tail.at_end()
    finally:
        tail.close()
    for mine in kept.values():
        _shorten(mine)
        for record in mine:
            _take(past, record)
    return past


def _shorten(records: list[Record]) -> None:
    """The newest, by the broker's time: partitions are read side by side."""
    records.sort(key=lambda record: record.timestamp)
    del records[:-MOST]


def _take(past: Past, record: Record) -> None:
    if record.topic is Topic.EVENTS:
        incoming = read_event(record.value, headers=record.headers, broker_time=record.timestamp)
        if isinstance(incoming, Incoming):
            past.events.append((incoming.event, incoming.at))
    elif record.topic is Topic.EVENTS_DLQ:
        if (letter := read_dead_letter(record)) is not None:
            past.letters.append(letter)
    else:
        with suppress(msgspec.DecodeError):
            past.moves.append(told_of(_decode(record.value or b"")))
