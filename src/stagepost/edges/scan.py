"""Reading topics from some point to their present end, once, as an ordinary client does: committed records.

Without a group, so nothing is committed and nobody is disturbed. May not contain: what is looked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from stagepost.edges.errors import EdgeError, of_kafka
from stagepost.edges.tail import READER, partitions_of, record_of
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Record, Topic

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 10.0
"""For an answer of the cluster; one that takes longer is away."""

_PIECE = 500
_TURN_S = 0.1


class Silent(EdgeError):
    """The cluster stopped answering in the middle of a scan."""


class Scanner:
    """Reads whole topics, or single records. For one thread."""

    def __init__(self, settings: Mapping[str, Any], names: TopicNames) -> None:
        """``settings``: of librdkafka, bootstrap servers included."""
        self._names = names
        self._consumer = Consumer({**settings, **READER}, logger=_LOGGER)

    def records(
        self,
        topics: Sequence[Topic],
        since: int | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> Iterator[Record]:
        """Everything in ``topics`` up to the end that they have now, by partition in order; from broker time ``since``
        (micros) on, None: from the first record. ``progress``: offsets passed, of how many. Raises MissingTopics."""
        places = self._places(topics)
        if since is not None:
            asked = [TopicPartition(place.topic, place.partition, since // 1000) for place in places]
            places = self._consumer.offsets_for_times(asked, timeout=_ASK_S)
        else:
            places = [TopicPartition(place.topic, place.partition, OFFSET_BEGINNING) for place in places]
        spans = [self._consumer.get_watermark_offsets(place, timeout=_ASK_S) for place in places]
        total = sum(
            high - (place.offset if place.offset >= 0 else low)
            for place, (low, high) in zip(places, spans, strict=True)
        )
        done = 0
        self._consumer.assign(places)
        left = {(place.topic, place.partition) for place in places}
        heard_at = time.monotonic()
        while left:
            # Waits for a full piece, so not for long: the ends of partitions are fewer than that.
            messages = self._consumer.consume(_PIECE, _TURN_S)
            now = time.monotonic()
            if messages:
                heard_at = now
            elif now - heard_at > _ASK_S:
                raise Silent(f"no answer for {_ASK_S:g} s while reading {', '.join(sorted({t for t, _ in left}))}")
            for message in messages:
                error = message.error()
                if error is None:
                    done += 1
                    yield record_of(message, self._names)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard((message.topic() or "", message.partition() or 0))
                elif of_kafka(error, "reading topics") is None:
                    raise KafkaException(error)
            progress(min(done, total), total)
        self._consumer.unassign()

    def one(self, topic: Topic, partition: int, offset: int) -> Record | None:
        """The record at a place; None where there is none, or where it is gone."""
        place = TopicPartition(self._names.full(topic), partition, offset)
        if (place.topic, partition) not in {(known.topic, known.partition) for known in self._places([topic])}:
            return None
        low, high = self._consumer.get_watermark_offsets(place, timeout=_ASK_S)
        if not low <= offset < high:
            return None
        self._consumer.assign([place])
        try:
            for message in self._consumer.consume(1, _ASK_S):
                if message.error() is None and message.offset() == offset:
                    return record_of(message, self._names)
        finally:
            self._consumer.unassign()
        return None

    def close(self) -> None:
        self._consumer.close()

    def _places(self, topics: Sequence[Topic]) -> list[TopicPartition]:
        known = partitions_of(self._consumer, self._names, topics)
        return [TopicPartition(name, partition) for name, all_ in known.items() for partition in all_]
