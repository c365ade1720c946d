"""Reading whole topics as an ordinary client does: committed records, from the first one, following the end.

Without a group, so nothing is committed and nobody is disturbed. What the demo looks at its results with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from stagepost.edges.errors import MissingTopics, of_kafka
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Record, Topic
from stagepost.events import murmur2_partition

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 10.0
"""For the list of partitions."""

READER: Mapping[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    # The library asks for a name; without subscription and commit no group comes into being.
    "group.id": "stagepost.tail",
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 100,
    "enable.partition.eof": True,
}


class Tail:
    """Records of ``topics`` in the order of each partition. For one thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        names: TopicNames,
        topics: Iterable[Topic],
        key: bytes | None = None,
        ever: bool = False,
    ) -> None:
        """``settings``: of librdkafka, bootstrap servers included. ``key``: only the partitions where records with it
        lie; with ``ever`` also those where they came to lie while a topic had fewer partitions. Raises MissingTopics,
        or KafkaException."""
        self._names = names
        self._ended: set[tuple[str | None, int | None]] = set()
        self._consumer = Consumer({**settings, **READER}, logger=_LOGGER)
        try:
            known = partitions_of(self._consumer, names, topics)
        except MissingTopics:
            self._consumer.close()
            raise
        self.partitions = [
            (name, p) for name, all_ in known.items() for p in (all_ if key is None else _homes(key, len(all_), ever))
        ]
        """Full topic names and partitions that are read."""
        self._consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for name, p in self.partitions])

    def read(self, limit: int, timeout_s: float) -> Sequence[Record]:
        """Up to ``limit`` records; fewer, or none, when ``timeout_s`` is over. Errors that pass are passed over."""
        records = []
        for message in self._consumer.consume(limit, timeout_s):
            error = message.error()
            if error is None:
                records.append(record_of(message, self._names))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add((message.topic(), message.partition()))
            elif of_kafka(error, "reading topics") is None:
                raise KafkaException(error)
        return records

    def to_end(self, piece: int, silent_s: float, progress: Callable[[int, int], None]) -> Iterator[Sequence[Record]]:
        """All records up to the end of every partition, up to ``piece`` at a time. It stops, not ``at_end``, after
        ``silent_s`` without any: the broker is away, or a transaction is open. ``progress``: records read, of about how
        many."""
        size, read, heard = self.size(), 0, time.monotonic()
        while not self.at_end():
            records = self.read(piece, 0.5)
            if records:
                heard = time.monotonic()
            elif time.monotonic() - heard > silent_s:
                return
            read += len(records)
            progress(min(read, size), size)
            yield records

    def size(self) -> int:
        """How many offsets lie in what is read, as of now."""
        ends = [self._consumer.get_watermark_offsets(TopicPartition(*place), _ASK_S) for place in self.partitions]
        return sum(high - low for low, high in (end for end in ends if end is not None))

    def at_end(self) -> bool:
        """Whether the end of every partition was reached, be it that more was added since."""
        return len(self._ended) == len(self.partitions)

    def close(self) -> None:
        self._consumer.close()


def _homes(key: bytes, partitions: int, ever: bool) -> list[int]:
    """
    >>> _homes(b"c-8841", 6, False), _homes(b"c-8841", 6, True)
    ([1], [0, 1, 2, 3])
    """
    counts = range(1, partitions + 1) if ever else [partitions]
    return sorted({murmur2_partition(key, count) for count in counts})


def partitions_of(consumer: Consumer, names: TopicNames, topics: Iterable[Topic]) -> dict[str, list[int]]:
    """Partitions by full topic name. Raises MissingTopics with all that are missing."""
    known = consumer.list_topics(timeout=_ASK_S).topics
    full = [names.full(topic) for topic in topics]
    missing = [name for name in full if name not in known or known[name].error is not None]
    if missing:
        raise MissingTopics(missing)
    return {name: list(known[name].partitions) for name in full}


def record_of(message: Message, names: TopicNames) -> Record:
    """A message without an error as the core knows it."""
    _, ms = message.timestamp()
    headers = message.headers()
    return Record(
        topic=names.logical(message.topic() or ""),
        partition=message.partition(),  # type: ignore[arg-type]
        offset=message.offset(),  # type: ignore[arg-type]
        timestamp=ms * 1000,
        key=message.key(),
        value=message.value(),
        headers=tuple(headers) if headers else (),  # type: ignore[arg-type]
    )
