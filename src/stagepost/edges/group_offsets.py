"""What a consumer group has committed, asked from outside of it.

By a consumer that joins nothing: librdkafka 2.16 ends the process (a segmentation fault in ``rd_kafka_cgrp_op``) when a
broker that loads its groups answers the same question of an AdminClient. May not contain: a commit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

_LOGGER = logging.getLogger("librdkafka")


class GroupOffsets:
    """The committed offsets of one group. For one thread."""

    def __init__(self, settings: Mapping[str, Any], group: str) -> None:
        """``settings``: of librdkafka, bootstrap servers included. Connects when it is asked."""
        # Not only what is decided: an answer that waits for the end of a transaction would come late.
        own = {"group.id": group, "isolation.level": "read_uncommitted", "log_level": 0}
        self._consumer = Consumer({**settings, **own}, logger=_LOGGER)

    def of(self, topic: str, partitions: Iterable[int], timeout_s: float) -> dict[int, tuple[int, str | None]]:
        """Offset and metadata by partition, of those where something was committed. Raises KafkaException."""
        places = [TopicPartition(topic, partition) for partition in partitions]
        if not places:
            return {}
        found = self._consumer.committed(places, timeout_s)
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        return {each.partition: (each.offset, metadata_of(each)) for each in found if each.offset >= 0}

    def close(self) -> None:
        self._consumer.close()


def metadata_of(committed: TopicPartition) -> str | None:
    """What stands beside a committed offset; empty where it is no text, hence of another program (Kafka Streams)."""
    try:
        return committed.metadata
    except UnicodeDecodeError:
        return ""
