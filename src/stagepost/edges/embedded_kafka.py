"""librdkafka's in-process mock broker: what ``demo`` and ``dev`` run on when no Kafka is given.

It shows, it proves nothing: no isolation (open and aborted records are visible), no fencing, no compaction, no
CreateTopics (topics appear on first use, with 4 partitions), transactional offsets accepted and not kept, 5 MiB or
100,000 records a partition and the rest silently gone. Its interface is marked experimental in ``rdkafka_mock.h``, so
all of it stays behind this module, and nothing about delivery may be claimed or tested on it.
"""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import Producer

PARTITIONS = 4
"""Of every topic; the mock broker cannot be told otherwise through the client's settings."""


class EmbeddedKafka:
    """A broker that lives as long as this object, inside this process; other processes reach it over TCP."""

    kind = "embedded"

    def __init__(self) -> None:
        # log_level 0: what it has to say is about a broker that is no broker.
        self._owner: Producer | None = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._owner.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def touch(self, topics: Iterable[str]) -> None:
        """Make topics, by asking for them by name. Raises RuntimeError after ``close``."""
        if self._owner is None:
            raise RuntimeError("the embedded broker is closed")
        for topic in topics:
            self._owner.list_topics(topic, timeout=10)

    def close(self) -> None:
        """End the broker; every record is gone."""
        self._owner = None
