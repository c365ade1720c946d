"""Stops a partition of which too much is bad, so that a bad deploy cannot divert the whole stream unseen.

Law: judged by records in their order, so the answer does not depend on how they were batched. May not contain: what is
done about it.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct


class GuardConfig(Struct, frozen=True):
    """``share`` of the last ``window`` records that may be dead letters; 1: any. Judged once as many were seen."""

    share: float = 0.5
    window: int = 1_000


class DeadLetterGuard:
    """Watches one partition."""

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._runs: deque[tuple[int, int]] = deque()
        self._records = self._dead = 0

    def take_back(self) -> None:
        """The last batch was not carried out as it was."""
        if self._runs:
            records, dead = self._runs.pop()
            self._records -= records
            self._dead -= dead

    def too_many(self, records: int, dead: int) -> str | None:
        """Take in a batch of ``records`` with ``dead`` dead letters; why the partition has to stop, None if it may go
        on. What is older than the window is forgotten a batch at a time."""
        config = self._config
        self._runs.append((records, dead))
        self._records += records
        self._dead += dead
        while self._records - self._runs[0][0] >= config.window:
            gone, bad = self._runs.popleft()
            self._records -= gone
            self._dead -= bad
        if self._records < config.window or self._dead <= config.share * self._records:
            return None
        return f"{self._dead} of the last {self._records} records are dead letters, more than {config.share:.0%}"
