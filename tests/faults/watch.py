"""Looks on from outside while faults happen: control records as they are committed, and what Redis shows meanwhile."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from confluent_kafka import Consumer, TopicPartition

from stagepost.edges.keys import MirrorKeys
from stagepost.engine.plan import CONTROL_KEY, decode_control

SHOW = """
local at = redis.call('HMGET', KEYS[1], 'seq', 'partial')
local shown = {at[1] or '', at[2] or ''}
local cursor = '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = page[1]
  for _, name in ipairs(page[2]) do
    for _, field in ipairs(redis.call('HGETALL', name)) do shown[#shown + 1] = field end
  end
until cursor == '0'
return shown
"""
"""One partition of the mirror, all of it in one atomic call."""

EVERY_S = 3.0
"""Between two looks at Redis."""


@dataclass(frozen=True)
class Shown:
    """The mirror of one partition at one moment."""

    partition: int
    seq: int
    digest: str


def digest(states: dict[bytes, bytes]) -> str:
    """Of a partition's states, whatever their order."""
    summed = hashlib.sha256()
    for key, value in sorted(states.items()):
        summed.update(b"%d %s %d %s" % (len(key), key, len(value), value))
    return summed.hexdigest()


def show(client: redis.Redis, keys: MirrorKeys, partition: int) -> tuple[int | None, bool, dict[bytes, bytes]]:
    """Batch number, whether partial, and states; braces of a hash tag mean nothing to MATCH."""
    shown: Any = client.eval(SHOW, 1, keys.checkpoint(partition), keys.buckets(partition) + "*")
    seq, partial, *fields = shown
    return (int(seq) if seq else None), partial == b"1", dict(zip(fields[::2], fields[1::2], strict=True))


class Watch:
    """Two threads, past the proxies: one reads the state topic, one looks at Redis."""

    def __init__(self, bootstrap: str, redis_url: str, prefix: str, partitions: int) -> None:
        self.committed: dict[int, int] = {}
        """By partition, where the last committed batch ends in the input."""
        self.writers: dict[int, str] = {}
        """By partition, who committed last."""
        self.commits = 0
        self.shown: set[Shown] = set()
        self._topic = f"{prefix}stagepost.state"
        self._keys = MirrorKeys.of(prefix, "journey")
        self._partitions: Sequence[int] = range(partitions)
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(bootstrap,), daemon=True, name="watch-kafka"),
            threading.Thread(target=self._look, args=(redis_url,), daemon=True, name="watch-redis"),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(10)

    def _read(self, bootstrap: str) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        consumer.assign([TopicPartition(self._topic, partition, 0) for partition in self._partitions])
        while not self._closing.is_set():
            for message in consumer.consume(500, 0.1):
                if message.error() is None and message.key() == CONTROL_KEY:
                    control, partition = decode_control(message.value() or b""), message.partition()
                    assert partition is not None
                    self.committed[partition] = control.in_off
                    self.writers[partition] = control.writer
                    self.commits += 1
        consumer.close()

    def _look(self, redis_url: str) -> None:
        client = redis.Redis.from_url(redis_url, socket_timeout=5, retry=None)
        while not self._closing.wait(EVERY_S):
            for partition in self._partitions:
                try:
                    seq, partial, states = show(client, self._keys, partition)
                except redis.RedisError:
                    time.sleep(0.5)
                    continue
                if seq is not None and not partial:
                    self.shown.add(Shown(partition, seq, digest(states)))
        client.close()
