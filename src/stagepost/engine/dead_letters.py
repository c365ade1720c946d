"""Dead letters: the original key, value and headers byte for byte, with why and from where (KIP-1191).

A topic's limit holds for what lies there compressed, so a record can be larger than anything that may be sent. What
then does not fit is left out and named; the original lies where it was read, as long as its topic keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence

from stagepost.engine.plan import Emit, Record, Topic
from stagepost.engine.retries import AND_MORE, retries_of
from stagepost.events import Rejected

DETAIL_LIMIT = 500
"""Characters of ``stagepost-detail``: a place and a reason, not a report."""

CARRIED_LIMIT = 9 << 20
"""Bytes of key, headers and value that are carried on: all that a record of these topics has uncompressed."""

_PARTS_LIMIT = 4_000
"""Characters of ``stagepost-parts``: a body can hold 10,000 parts, a header should stay small."""


def size_of(record: Record) -> int:
    """Bytes that carrying ``record`` on takes."""
    return sum(_sizes(record).values())


_OFFSET = "__dlq.errors.offset"
_MESSAGE = "__dlq.errors.message"


def offset_of(letter: Emit) -> int:
    """Where the record of a dead letter lies. The last of several headers is ours."""
    return int(next(value for name, value in reversed(letter.headers) if name == _OFFSET and value is not None))


def reason_of(letter: Emit) -> str:
    """Why: the closed reason, and the detail. The last of several headers is ours."""
    found = (value for name, value in reversed(letter.headers) if name == _MESSAGE and value is not None)
    return next(found).decode()


def dead_letter(
    record: Record,
    topic: Topic,
    source_topic: str,
    group: str,
    rejected: Sequence[Rejected],
    limit: int = CARRIED_LIMIT,
) -> Emit:
    """The dead letter of ``record`` for its rejections (at least one; the first gives the reason).

    ``source_topic`` is the full name of the topic that the record was read from. ``limit``: bytes of the original that
    fit; of key, headers and value in this order what does not is left out, ``stagepost-omitted: value:31457283``.
    """
    first = rejected[0]
    detail = first.detail[:DETAIL_LIMIT]
    where = (
        ("__dlq.errors.topic", source_topic.encode()),
        ("__dlq.errors.partition", str(record.partition).encode()),
        (_OFFSET, str(record.offset).encode()),
        ("__dlq.errors.group", group.encode()),
        ("__dlq.errors.delivery.count", str(retries_of(record.headers) + 1).encode()),
        (_MESSAGE, f"{first.reason}: {detail}".encode()),
        ("stagepost-reason", first.reason.encode()),
        ("stagepost-detail", detail.encode()),
    )
    omitted = _omitted(record, limit)
    more = {"stagepost-parts": _parts(rejected), "stagepost-omitted": ",".join(omitted.values()).encode()}
    return Emit(
        topic=topic,
        key=None if "key" in omitted else record.key,
        value=None if "value" in omitted else record.value,
        headers=(
            *(() if "headers" in omitted else record.headers),
            *where,
            *((name, text) for name, text in more.items() if text),
        ),
    )


def _sizes(record: Record) -> dict[str, int]:
    headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    return {"key": len(record.key or b""), "headers": headers, "value": len(record.value or b"")}


def _omitted(record: Record, limit: int) -> dict[str, str]:
    """What is left out, with its size."""
    omitted = {}
    for name, size in _sizes(record).items():
        if size > limit:
            omitted[name] = f"{name}:{size}"
        else:
            limit -= size
    return omitted


def _parts(rejected: Sequence[Rejected]) -> bytes:
    """``3:schema,17:no-contact`` for rejections of single parts; empty when the whole body was refused."""
    text = ",".join(f"{r.part}:{r.reason}" for r in rejected if r.part is not None)
    if len(text) > _PARTS_LIMIT:
        text = text[: _PARTS_LIMIT - len(AND_MORE)].rsplit(",", 1)[0] + AND_MORE
    return text.encode()
