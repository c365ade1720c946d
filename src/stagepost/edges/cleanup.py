"""Removing what an installation left on a broker and a Redis that go on living: its groups, topics and keys.

For the demo and the bench, which leave nothing behind on servers that are not their own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from stagepost.edges.admin import delete_topics, missing_topics
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic

_ABSENT = (KafkaError.GROUP_ID_NOT_FOUND, KafkaError.INVALID_GROUP_ID)

_GONE_S = 20.0
"""A broker answers that topics are deleted before it has forgotten them."""

_SCAN = 1_000
"""Keys looked at in one call, which nothing interrupts."""


def existing_topics(client: AdminClient, names: TopicNames) -> list[str]:
    """The topics of the installation that are there, full names. Raises KafkaException when no broker answers."""
    full = [names.full(topic) for topic in Topic]
    missing = set(missing_topics(client, full))
    return [name for name in full if name not in missing]


def remove_from_kafka(
    client: AdminClient, names: TopicNames, roles: Iterable[str], keep: Collection[Topic] = ()
) -> None:
    """Delete topics but those to ``keep``, and consumer groups; what is not there is passed over. The roles must have
    ended. Returns when the topics are gone and may be made anew.
    """

    def left() -> list[str]:
        kept = {names.full(topic) for topic in keep}
        return [name for name in existing_topics(client, names) if name not in kept]

    delete_topics(client, left())
    deadline = time.monotonic() + _GONE_S
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    for future in client.delete_consumer_groups([names.group(role) for role in roles]).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() not in _ABSENT:
                raise


def remove_from_redis(url: str, prefix: str) -> None:
    """Delete every key of the installation (``keys.py``). Raises ValueError for an empty prefix, which is shared."""
    if not prefix:
        raise ValueError("an installation without a prefix shares its Redis with nobody: use FLUSHDB")
    with redis.Redis.from_url(url) as client:
        keys = list(client.scan_iter(match=f"{{{prefix}[:/]*", count=_SCAN))
        for first in range(0, len(keys), _SCAN):
            client.unlink(*keys[first : first + _SCAN])
