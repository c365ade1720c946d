"""Memory twins of the mirror and the log: the same behaviour as Redis and Kafka as far as the runner can see it.

Kept honest by ``tests/contracts``, which runs one suite over them and the real parts. Single-threaded but for the
mirror's lock. The broker has transactions with open, committed and aborted records, a last stable offset, fencing by
producer epoch, and a consumer group with generations; it has no compaction, no replication and no time of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from stagepost.edges.ports import Checkpoint, Outcome, Snapshot, StateChange


class MemoryMirror:
    """``ports.Mirror`` without a server. The three attributes may be looked at, copied and put back (a rollback)."""

    def __init__(self) -> None:
        self.checkpoints: dict[int, Checkpoint] = {}
        self.values: dict[int, dict[str, bytes]] = {}
        self.timers: dict[int, dict[str, int]] = {}
        self._lock = threading.Lock()

    def flush(self) -> None:
        """Everything is gone, as after FLUSHALL."""
        with self._lock:
            self.checkpoints, self.values, self.timers = {}, {}, {}

    def checkpoint(self, partition: int) -> Checkpoint | None:
        return self.checkpoints.get(partition)

    def read(self, partition: int, keys: Sequence[str]) -> Snapshot | None:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None or at.partial:
                return None
            values = self.values.get(partition, {})
            return Snapshot(at.seq, at.nonce, {key: values.get(key) for key in keys})

    def apply(self, partition: int, expected: int, changes: Sequence[StateChange], then: Checkpoint) -> Outcome:
        with self._lock:
            at = self.checkpoints.get(partition)
            if at is None or at.nonce != then.nonce:
                return Outcome.GAP
            if at.seq != expected:
                return Outcome.ALREADY if at.seq >= then.seq else Outcome.GAP
            values = self.values.setdefault(partition, {})
            timers = self.timers.setdefault(partition, {})
            for key, value, due in changes:
                values.pop(key, None)
                timers.pop(key, None)
                if value is not None:
                    values[key] = value
                    if due is not None:
                        timers[key] = due
            self.checkpoints[partition] = then
            return Outcome.OK

    def wipe(self, partition: int, fresh: Checkpoint) -> None:
        with self._lock:
            self.values.pop(partition, None)
            self.timers.pop(partition, None)
            self.checkpoints[partition] = fresh

    def due(self, partition: int) -> Mapping[str, int]:
        return dict(self.timers.get(partition, {}))

    def states(self, partition: int) -> Mapping[str, bytes]:
        return dict(self.values.get(partition, {}))

    def close(self) -> None:
        """Nothing to let go of."""
