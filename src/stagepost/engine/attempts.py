"""Finding the one record that cannot be carried out: by halving, over deaths of processes if need be (delivery.md 4).

A batch that its broker refuses, or over which processes end, is tried in halves until the bad record is alone; then it
becomes a dead letter. What a process leaves behind before it computes is an ``Attempt``; what the next one makes of it,
or of a refusal, is ``Care``.

Law: records are tried in their order and none is passed over; among n of them some 2 log2(n) trials find the bad one,
after which all is as usual. May not contain: where an Attempt is kept, what a refusal is.
"""

from __future__ import annotations

from msgspec import Struct, structs

from stagepost.events import Reason, Rejected

LIVES = 3
"""Deaths over the same batch before it is suspected, and over a single record before it is one too many: a machine that
is restarted, or a process that somebody ends, are no poison."""


class Attempt(Struct, frozen=True, kw_only=True):
    """A batch that was begun."""

    in_off: int
    """Offset of its first record."""
    records: int
    end: int
    """Offset after its last record."""
    deaths: int = 0
    """Processes that had ended over it, or over a larger one that began with it."""
    alone: int = 0
    """Of these, how many while its first record was the only one."""


class Care(Struct, frozen=True, kw_only=True):
    """How the next records of a partition are to be tried."""

    until: int
    """Below it lies what may be bad; beyond it all is as usual."""
    limit: int | None = None
    """Most records in one transaction, and none of another partition; None: as many as there are."""
    deaths: int = 0
    alone: int = 0

    @property
    def hopeless(self) -> bool:
        """Whether the first record is not to be tried again."""
        return self.alone >= LIVES


def attempt(care: Care | None, in_off: int, records: int, end: int) -> Attempt:
    """What is written down before ``records`` from ``in_off`` to before ``end`` are computed."""
    deaths, alone = (0, 0) if care is None else (care.deaths, care.alone)
    return Attempt(in_off=in_off, records=records, end=end, deaths=deaths, alone=alone)


def after_death(found: Attempt | None, next_offset: int) -> Care | None:
    """The care for a partition that goes on at ``next_offset``, where a former owner left ``found``.

    None: nothing was left, or the batch was carried out after all.
    """
    if found is None or found.in_off != next_offset:
        return None
    deaths = found.deaths + 1
    alone = found.alone + 1 if found.records == 1 else 0
    limit = None if deaths < LIVES else max(1, found.records // 2)
    return Care(until=found.end, limit=limit, deaths=deaths, alone=alone)


def after_refusal(records: int, end: int) -> Care:
    """The care for a batch that was refused as a whole; ``end``: offset after it."""
    return Care(until=end, limit=max(1, records // 2))


def after_commit(care: Care | None, next_offset: int) -> Care | None:
    """The care for what follows a batch that ended before ``next_offset`` and was carried out.

    The bad record is in the rest, which then is hardly larger than what was carried out: half of that is tried next.
    """
    if care is None or care.limit is None or next_offset >= care.until:
        return None
    return structs.replace(care, limit=max(1, care.limit // 2), alone=0)


def deadly() -> Rejected:
    """Why a record is a dead letter over which processes ended."""
    return Rejected(Reason.RULE_ERROR, f"computing it ended the process {LIVES} times")


def unfit(*, too_large: bool) -> Rejected:
    """Why a record is a dead letter of which the broker took no output."""
    if too_large:
        return Rejected(Reason.OVERSIZE, "what comes of it is larger than a topic takes")
    return Rejected(Reason.RULE_ERROR, "what comes of it is refused by the broker")
