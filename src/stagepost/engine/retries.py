"""The way back of a dead letter: what it says, the record that is published again, and the receipt for it.

A dead letter's headers are the original ones, then ``__dlq.errors.topic`` and all that follows it. One that is retried
goes to the topic that it came from as it was, with ``stagepost-retry: n`` (which retry this is), the place of its dead
letter, and for a body of which only some parts were refused their list; beside it a receipt is written to the
dead-letter topic in the same transaction, so that nothing is retried twice by mistake.
May not contain: reading or writing topics.
"""

from __future__ import annotations

import re

from msgspec import Struct

from stagepost.engine.plan import Emit, Headers, Record, Topic
from stagepost.events import Reason

AND_MORE = ",..."
"""End of a list of parts that was too long: a retry then takes all parts, and those that were read are duplicates."""

_FIRST = "__dlq.errors.topic"
RETRY = "stagepost-retry"
RETRY_OF = "stagepost-retry-of"
RETRIED = "stagepost-retried"
PARTS = "stagepost-parts"
OMITTED = "stagepost-omitted"

SOURCES = {Topic.RAW_DLQ: Topic.RAW, Topic.EVENTS_DLQ: Topic.EVENTS}
"""Where dead letters can go back to. The others hold records of a worker or of the rollup, which are made anew."""

_PART = re.compile(r"(\d{1,6}):[a-z-]+")


class DeadLetter(Struct, frozen=True):
    """A dead letter as its headers tell of it. ``record`` is it whole; ``retries``: how often it was retried before it
    ended here again."""

    record: Record
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    group: str
    retries: int
    parts: str
    omitted: str
    """What of the original was too large to be carried on; it cannot be retried from here."""

    @property
    def place(self) -> str:
        """``TOPIC:PARTITION:OFFSET``, with the logical name of the topic."""
        return place_of(self.record)


def place_of(record: Record) -> str:
    """``TOPIC:PARTITION:OFFSET``, with the logical name of the topic."""
    return f"{record.topic}:{record.partition}:{record.offset}"


def read_dead_letter(record: Record) -> DeadLetter | None:
    """What a record of a dead-letter topic says; None for one that no worker wrote (a receipt among them)."""
    start = _start(record.headers)
    if start is None:
        return None
    ours = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers[start:]}
    return DeadLetter(
        record=record,
        reason=ours.get("stagepost-reason", Reason.UNDECODABLE),
        detail=ours.get("stagepost-detail", ""),
        source_topic=ours[_FIRST],
        source_partition=_integer(ours.get("__dlq.errors.partition", "")),
        source_offset=_integer(ours.get("__dlq.errors.offset", "")),
        group=ours.get("__dlq.errors.group", ""),
        retries=retries_of(record.headers[:start]),
        parts=ours.get(PARTS, ""),
        omitted=ours.get(OMITTED, ""),
    )


def retry_of(letter: DeadLetter) -> tuple[Emit, Emit]:
    """The original on its way back, and the receipt for the dead-letter topic. KeyError for a topic not in SOURCES."""
    record = letter.record
    start = _start(record.headers)
    original = tuple((name, value) for name, value in record.headers[:start] if name not in (RETRY, RETRY_OF, PARTS))
    added = [(RETRY, str(letter.retries + 1).encode()), (RETRY_OF, letter.place.encode())]
    if letter.parts and not letter.parts.endswith(AND_MORE):
        added.append((PARTS, letter.parts.encode()))
    again = Emit(SOURCES[record.topic], record.key, record.value, (*original, *added))
    receipt = Emit(record.topic, record.key, None, ((RETRIED, letter.place.encode()),), record.partition)
    return again, receipt


def receipt_for(record: Record) -> str | None:
    """The place of the dead letter that a receipt is for; None for any other record."""
    return _text(record.headers, RETRIED) if record.value is None else None


def retried_from(record: Record) -> str | None:
    """The place of the dead letter that a record, or the dead letter that it became again, was retried from."""
    return _text(record.headers, RETRY_OF)


def parts_to_retry(headers: Headers) -> frozenset[int] | None:
    """Of a record that was retried: the parts that are to be read, the others were. None: all of them."""
    if not retries_of(headers):
        return None
    found = [_PART.fullmatch(part) for part in (_text(headers, PARTS) or "").split(",")]
    return frozenset(int(part[1]) for part in found if part is not None) or None


def _start(headers: Headers) -> int | None:
    """Where a worker's own headers begin: at the last of their first name."""
    places = [place for place, (name, _) in enumerate(headers) if name == _FIRST]
    return places[-1] if places else None


def _text(headers: Headers, name: str) -> str | None:
    """The last header of a name."""
    found = [value for known, value in headers if known == name and value is not None]
    return found[-1].decode("utf-8", "replace") if found else None


def retries_of(headers: Headers) -> int:
    """How often a record was retried before."""
    return max(0, _integer(_text(headers, RETRY) or ""))


def _integer(text: str) -> int:
    """-1 for what is no number of a sensible length."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
