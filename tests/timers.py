"""Reading a timer index a few entries at a time: that of a mirror, and one that is a mapping."""

from __future__ import annotations

from collections.abc import Mapping

from stagepost.edges.ports import Mirror


def due_in(mirror: Mirror, partition: int = 0, enough: int = 2) -> dict[str, int]:
    """State key to next due time; empty, too, where there is no checkpoint."""
    found: dict[str, int] = {}
    after: int | None = -1
    while after is not None and (page := mirror.timers(partition, after, enough)) is not None:
        assert all(due > after for due in page.due.values())
        assert not found.keys() & page.due.keys()
        found |= page.due
        after = page.until
    return found


def page_of(due: Mapping[str, int], after: int, enough: int) -> tuple[dict[str, int], int | None]:
    """As ``Mirror.timers``: what is due next, and up to when that is all."""
    later = sorted((at, key) for key, at in due.items() if at > after)
    until = later[enough - 1][0] if len(later) >= enough else None
    return {key: at for at, key in later if until is None or at <= until}, until
