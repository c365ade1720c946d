"""Contacts that move unusually often: counted and told, never held up (delivery.md 4).

Law: judged move by move by the partition clock, so the answer does not depend on how records were batched; nothing here
changes a move. May not contain: what is done about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from stagepost.events import MINUTE

MOVES = 30
"""Moves of one contact in a minute of the partition clock that are unusual: a person does not pass as many stages, two
systems that answer each other, or a test that writes to production, do."""

CONTACTS = 10_000
"""Contacts counted at a time: when more move within a minute, those that began last are not counted."""

Moved = tuple[str, int]
"""Contact, and the partition clock at one move of it, micros."""


class HotContacts:
    """Watches one partition; changed by ``took`` only."""

    def __init__(self, moves: int = MOVES, contacts: int = CONTACTS) -> None:
        self._moves = moves
        self._contacts = contacts
        self._minute = 0
        self._seen: dict[str, int] = {}

    def hot(self, moved: Sequence[Moved]) -> int:
        """How many contacts become hot by these moves; each once in a minute."""
        return self._count(moved)[0]

    def took(self, moved: Sequence[Moved]) -> None:
        """The moves are committed."""
        _, self._minute, self._seen = self._count(moved)

    def _count(self, moved: Sequence[Moved]) -> tuple[int, int, dict[str, int]]:
        minute, seen, before = self._minute, dict[str, int](), self._seen
        hot = 0
        for contact, clock in moved:
            if clock // MINUTE != minute:
                minute, seen, before = clock // MINUTE, {}, {}
            n = seen.get(contact) or before.get(contact, 0)
            if n or len(seen) + len(before) < self._contacts:
                seen[contact] = n + 1
                hot += n + 1 == self._moves
        return hot, minute, {**before, **seen}
