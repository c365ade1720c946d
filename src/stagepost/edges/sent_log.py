"""What each receiver was told, in Redis: a hash per receiver from incident to its last revision (faust.md, rule 4).

The law: what is in memory is what was read plus what was sent since. It is read anew when partitions change hands, and
when Redis lost it; then every live incident is announced once more, and the log says since when it is whole, so that
nothing else is. A delivery is in memory at once, and in Redis as soon as that answers: an outage of Redis stops no
alert, and only a crash within the outage repeats one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import redis.asyncio
from msgspec import Struct
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stagepost.alerts.lifecycle import Phase
from stagepost.alerts.notifications import Told
from stagepost.edges.errors import of_redis
from stagepost.edges.keys import SentKeys

KEPT_S = 45 * 24 * 3600
"""Longer than ``email.alerts`` keeps a record (30 d), so that reading the topic from its beginning repeats nothing."""

ENTRIES_LIMIT = 50_000
"""Incidents per receiver; beyond it the oldest are forgotten."""

_TIMEOUT_S = 2.0


class _Entry(Struct, frozen=True, array_like=True):
    """As it lies in the hash: ``[rev, status, Unix second]``."""

    rev: int
    status: Phase
    at: int


class SentLog:
    """The log of some receivers, for one event loop. ``receivers``: ids that hold no secret."""

    def __init__(self, url: str, keys: SentKeys, receivers: Iterable[str]) -> None:
        self._keys = keys
        self._client: Any = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._told: dict[str, dict[str, _Entry]] = {receiver: {} for receiver in receivers}
        self._unwritten: dict[str, dict[str, _Entry]] = {receiver: {} for receiver in receivers}
        self._noted: list[tuple[str, str, _Entry]] = []
        self._loading = False
        self._epoch: bytes | None = None
        self.began = 0
        """The broker time from which on the log is whole, micros; 0 when it always was."""

    def told(self, receiver: str, incident_id: str) -> Told | None:
        """What the receiver was told of an incident, as far as is known."""
        entry = self._told[receiver].get(incident_id)
        return None if entry is None else Told(entry.rev, entry.status)

    def note(self, receiver: str, incident_id: str, told: Told) -> None:
        """A delivery has happened; ``write`` takes it to Redis."""
        entry = _Entry(told.rev, told.status, int(time.time()))
        self._told[receiver][incident_id] = entry
        self._unwritten[receiver][incident_id] = entry
        if self._loading:
            self._noted.append((receiver, incident_id, entry))

    async def load(self, begins: int) -> None:
        """Read everything anew. Raises SlowDown while Redis does not answer, Stop when it refuses us.

        ``begins``: for ``began``, when Redis holds no log yet.
        """
        # Deliveries go on while Redis is read, and what it then says is older than they are.
        self._noted = [
            (receiver, incident_id, entry)
            for receiver, entries in self._unwritten.items()
            for incident_id, entry in entries.items()
        ]
        self._loading = True
        try:
            with _routed("reading what was sent"):
                await self._client.set(self._keys.epoch, f"{uuid.uuid4().hex} {begins}", nx=True)
                epoch = await self._client.get(self._keys.epoch)
                told = {receiver: await self._client.hgetall(self._keys.sent(receiver)) for receiver in self._told}
        finally:
            self._loading = False
        old: dict[str, list[bytes]] = {}
        for receiver, fields in told.items():
            self._told[receiver], old[receiver] = _kept(fields)
        for receiver, incident_id, entry in self._noted:
            self._told[receiver][incident_id] = entry
        self._epoch = epoch
        self.began = _begin_of(epoch)
        for receiver, incidents in old.items():
            if incidents:
                with _routed("forgetting what was sent long ago"):
                    await self._client.hdel(self._keys.sent(receiver), *incidents)

    async def lost(self) -> bool:
        """Whether Redis no longer holds what was read from it. Raises as ``load``."""
        with _routed("asking for what was sent"):
            return bool(await self._client.get(self._keys.epoch) != self._epoch)

    async def write(self) -> None:
        """Write every delivery that Redis does not have yet. Raises as ``load``; what was not written stays noted."""
        for receiver, entries in self._unwritten.items():
            if not entries:
                continue
            writing = dict(entries)
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(
                self._keys.sent(receiver),
                mapping={incident_id: msgspec.json.encode(entry) for incident_id, entry in writing.items()},
            )
            pipeline.expire(self._keys.sent(receiver), KEPT_S)
            with _routed("writing what was sent"):
                await pipeline.execute()
            for incident_id, entry in writing.items():
                if entries.get(incident_id) is entry:
                    del entries[incident_id]

    async def close(self) -> None:
        await self._client.aclose()


def _kept(fields: Mapping[bytes, bytes]) -> tuple[dict[str, _Entry], list[bytes]]:
    """Entries by incident, and the fields to drop: too old, too many, or not ours."""
    oldest = time.time() - KEPT_S
    entries: dict[str, _Entry] = {}
    stale = []
    for field, value in fields.items():
        try:
            entry = msgspec.json.decode(value, type=_Entry)
            incident_id = field.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            stale.append(field)
            continue
        if entry.at < oldest:
            stale.append(field)
        else:
            entries[incident_id] = entry
    over = sorted(entries, key=lambda incident_id: entries[incident_id].at)[: max(0, len(entries) - ENTRIES_LIMIT)]
    for incident_id in over:
        del entries[incident_id]
        stale.append(incident_id.encode())
    return entries, stale


def _begin_of(epoch: bytes | None) -> int:
    """What the epoch says; 0 for one that somebody else wrote or removed: then too much is told, not too little."""
    _name, _, begin = (epoch or b"").partition(b" ")
    return int(begin) if begin.isdigit() else 0


@contextmanager
def _routed(doing: str) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        routed = of_redis(error, doing)
        if routed is None:
            raise
        raise routed from error
