"""Dead letters: the original key, value and headers byte for byte, with why and from where (KIP-1191)."""

from __future__ import annotations

from collections.abc import Sequence

from stagepost.engine.plan import Emit, Record, Topic
from stagepost.engine.retries import AND_MORE, retries_of
from stagepost.events import Rejected

DETAIL_LIMIT = 500
"""Characters of ``stagepost-detail``: a place and a reason, not a report."""

_PARTS_LIMIT = 4_000
"""Characters of ``stagepost-parts``: a body can hold 10,000 parts, a header should stay small."""


def dead_letter(record: Record, topic: Topic, source_topic: str, group: str, rejected: Sequence[Rejected]) -> Emit:
    """The dead letter of ``record`` for its rejections (at least one; the first gives the reason).

    ``source_topic`` is the full name of the topic that the record was read from.
    """
    first = rejected[0]
    detail = first.detail[:DETAIL_LIMIT]
    where = (
        ("__dlq.errors.topic", source_topic.encode()),
        ("__dlq.errors.partition", str(record.partition).encode()),
        ("__dlq.errors.offset", str(record.offset).encode()),
        ("__dlq.errors.group", group.encode()),
        ("__dlq.errors.delivery.count", str(retries_of(record.headers) + 1).encode()),
        ("__dlq.errors.message", f"{first.reason}: {detail}".encode()),
        ("stagepost-reason", first.reason.encode()),
        ("stagepost-detail", detail.encode()),
    )
    parts = _parts(rejected)
    return Emit(
        topic=topic,
        key=record.key,
        value=record.value,
        headers=(*record.headers, *where, *((("stagepost-parts", parts),) if parts else ())),
    )


def _parts(rejected: Sequence[Rejected]) -> bytes:
    """``3:schema,17:no-contact`` for rejections of single parts; empty when the whole body was refused."""
    text = ",".join(f"{r.part}:{r.reason}" for r in rejected if r.part is not None)
    if len(text) > _PARTS_LIMIT:
        text = text[: _PARTS_LIMIT - len(AND_MORE)].rsplit(",", 1)[0] + AND_MORE
    return text.encode()
