"""What lies behind the mirror of a schedule, as a person with access to the server can treat it.

L0 plays over the memory twin, L1 over a real Redis (delivery.md 5): the schedules are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import redis

from stagepost.edges.keys import MirrorKeys
from stagepost.edges.memory import MemoryMirror
from stagepost.edges.mirror import RedisMirror
from stagepost.edges.ports import Mirror

Picture = Mapping[Any, Any]
"""All that a server holds, as a dump does; ``{}`` is an empty one."""


class Keeper(Protocol):
    """A mirror, and what can happen to the server below it."""

    def mirror(self, piece: int) -> Mirror: ...

    def flush(self) -> None: ...

    def picture(self) -> Picture: ...

    def put_back(self, picture: Picture) -> None: ...


class InMemory:
    """The memory twin."""

    _parts = ("checkpoints", "values", "dues", "stories", "attempts", "marks")

    def __init__(self) -> None:
        self._mirror = MemoryMirror()

    def mirror(self, piece: int) -> MemoryMirror:
        self._mirror.piece = piece
        return self._mirror

    def flush(self) -> None:
        self._mirror.flush()

    def picture(self) -> Picture:
        return {part: _copied(getattr(self._mirror, part)) for part in self._parts}

    def put_back(self, picture: Picture) -> None:
        for part in self._parts:
            setattr(self._mirror, part, _copied(picture.get(part, {})))


def _copied(part: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: value.copy() if isinstance(value, dict | list) else value for key, value in part.items()}


class InRedis:
    """A real server, which has nothing else to do."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def mirror(self, piece: int) -> RedisMirror:
        return RedisMirror(self._client, MirrorKeys.of("", "journey"), piece)

    def flush(self) -> None:
        self._client.flushall()

    def picture(self) -> Picture:
        return {key: self._client.dump(key) for key in self._client.scan_iter(count=1000)}

    def put_back(self, picture: Picture) -> None:
        self._client.flushall()
        for key, dump in picture.items():
            self._client.restore(key, 0, dump)
