"""Every Redis key of the mirror, and where in it a state lies (delivery.md 2).

All keys of a partition share a hash tag, so that one Lua call may touch them on Redis Cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

BUCKETS = 4096
"""Hashes per partition: at 400,000 contacts about 100 each, which costs 80 B a contact and loads fastest."""


def bucket_of(key: str) -> int:
    """The bucket in which the state of ``key`` lies. A change here makes mirrors unreadable, hence raises PROTO."""
    return crc32(key.encode()) % BUCKETS


@dataclass(frozen=True)
class MirrorKeys:
    """Names for one installation and role. ``app`` is the topic prefix, or ``stagepost`` without one."""

    app: str

    @classmethod
    def of(cls, prefix: str, role: str) -> MirrorKeys:
        """``journey`` has the plain names; another stateful role adds itself, since its partitions have numbers too.

        A topic prefix cannot hold a slash, so no two installations meet.

        >>> MirrorKeys.of("", "journey").checkpoint(3), MirrorKeys.of("acme.", "rollup").timers(0)
        ('{stagepost:3}:ck', '{acme./rollup:0}:t')
        """
        app = prefix or "stagepost"
        return cls(app if role == "journey" else f"{app}/{role}")

    def checkpoint(self, partition: int) -> str:
        """Hash: which batch the mirror shows, see ``ports.Checkpoint``."""
        return f"{self._tag(partition)}:ck"

    def buckets(self, partition: int) -> str:
        """What comes before a bucket's number."""
        return f"{self._tag(partition)}:b:"

    def bucket(self, partition: int, key: str) -> str:
        """Hash of state key to packed state."""
        return f"{self.buckets(partition)}{bucket_of(key)}"

    def attempt(self, partition: int) -> str:
        """Hash: the batch that is being computed, see ``engine/attempts.py``, and by which process; not state."""
        return f"{self._tag(partition)}:a"

    def stories(self, partition: int) -> str:
        """What comes before a contact id: list of its last moves, packed (``engine/story.py``); not state."""
        return f"{self._tag(partition)}:s:"

    def retold(self, partition: int) -> str:
        """Text: how far the stories were told again after a loss (``retelling.py``)."""
        return f"{self._tag(partition)}:r"

    def timers(self, partition: int) -> str:
        """Sorted set of state key by next due time in micros (exact: a double holds them below the year 2255)."""
        return f"{self._tag(partition)}:t"

    def _tag(self, partition: int) -> str:
        return f"{{{self.app}:{partition}}}"


@dataclass(frozen=True)
class SentKeys:
    """Keys of what receivers were told, on one installation; no part of a mirror."""

    app: str

    @classmethod
    def of(cls, prefix: str) -> SentKeys:
        """
        >>> SentKeys.of("").epoch, SentKeys.of("acme.").sent("log")
        ('{stagepost/notify}:epoch', '{acme./notify}:sent:log')
        """
        return cls(prefix or "stagepost")

    @property
    def epoch(self) -> str:
        """Text: a name for this content, lost together with it, and since when it is whole, in micros."""
        return f"{{{self.app}/notify}}:epoch"

    def sent(self, receiver: str) -> str:
        """Hash of incident id to the last revision that ``receiver`` was told, see ``sent_log``."""
        return f"{{{self.app}/notify}}:sent:{receiver}"
