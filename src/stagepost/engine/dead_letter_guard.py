"""Stops a partition of which too much is bad, so that a bad deploy cannot divert the whole stream unseen.

Law: judged by records in their order, so the answer does not depend on how they were batched. May not contain: what is
done about it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct


class GuardConfig(Struct, frozen=True):
    """``share`` of the last ``window`` records that may be dead letters; 1: any. Judged once as many were seen.
    ``run``: dead letters in a row that may be; 0: any. Else a worker that is started anew after each stop, and has seen
    few records, would divert the stream a window at a time."""

    share: float = 0.5
    window: int = 1_000
    run: int = 500


class _Batch(Struct, frozen=True):
    records: int
    dead: int
    before: int
    """Dead letters in a row that it came after."""


class DeadLetterGuard:
    """Watches one partition."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._batches: deque[_Batch] = deque()
        self._records = self._dead = self._run = 0

    def take_back(self) -> None:
        """The last batch was not carried out as it was."""
        if self._batches:
            last = self._batches.pop()
            self._forget(last)
            self._run = last.before

    def too_many(self, records: int, dead: Sequence[int]) -> str | None:
        """Take in a batch of ``records``, of which those at the positions ``dead`` are dead letters; why the partition
        has to stop, None if it may go on. What is older than the window is forgotten a batch at a time."""
        config = self._config
        run = longest = self._run
        for before, position in zip((-1, *dead), dead, strict=False):
            run = run + 1 if position == before + 1 else 1
            longest = max(longest, run)
        ends_dead = bool(dead) and dead[-1] == records - 1
        self._batches.append(_Batch(records, len(dead), self._run))
        self._run = run if ends_dead or not records else 0
        self._records += records
        self._dead += len(dead)
        while self._records - self._batches[0].records >= config.window:
            self._forget(self._batches.popleft())
        if config.run and longest > config.run:
            return f"{longest} records in a row are dead letters, more than {config.run}"
        if self._records < config.window or self._dead <= config.share * self._records:
            return None
        return f"{self._dead} of the last {self._records} records are dead letters, more than {config.share:.0%}"

    def _forget(self, batch: _Batch) -> None:
        self._records -= batch.records
        self._dead -= batch.dead
