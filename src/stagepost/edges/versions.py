"""The oldest versions of libraries that the delivery protocol was proven with; asked for at the start (delivery.md 3).

What Redis must be is asked when it answers (``mirror.py``), and a broker that gives topics no id is too old
(``kafka_log.py``): nothing else of a broker's version can be seen through the client.
"""

from __future__ import annotations

import confluent_kafka

from stagepost.edges.errors import Outdated

LIBRDKAFKA = (2, 16)

KAFKA = "stagepost needs Kafka 3.6 or later"


def require_librdkafka(number: int | None = None) -> None:
    """Raises Outdated for an older client library. ``number``: as ``libversion`` gives it, 0xMMmmpprr."""
    found = confluent_kafka.libversion()[1] if number is None else number
    version = (found >> 24, found >> 16 & 0xFF)
    if version < LIBRDKAFKA:
        raise Outdated(
            f"librdkafka {version[0]}.{version[1]} is too old: stagepost needs {LIBRDKAFKA[0]}.{LIBRDKAFKA[1]} or "
            "later; install confluent-kafka>=2.16"
        )
