"""What each input partition has reported: the proof that nothing is skipped or counted twice, and the watermark.

May not contain: counts, a clock. The watermark is event time up to which all inputs have reported (design.md 5).
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field


class Taken(StrEnum):
    """What a batch is, by its number."""

    NEXT = "next"
    GAP = "gap"
    """Batches before it are missing; it is counted all the same."""
    DUPLICATE = "duplicate"


class Input(Struct, frozen=True, array_like=True):
    """Last batch number and clock (micros) that one input partition reported."""

    seq: int
    clock: int


class Inputs(Struct, frozen=True, array_like=True):
    """All inputs of one tally partition, and the newest broker time seen (micros), which times what is written."""

    now: int = 0
    by_partition: dict[int, Input] = field(default_factory=dict)

    def judge(self, p: int, seq: int) -> Taken:
        """What batch ``seq`` of input ``p`` is. The first one ever heard of may have any number."""
        known = self.by_partition.get(p)
        if known is None or seq == known.seq + 1:
            return Taken.NEXT
        return Taken.GAP if seq > known.seq else Taken.DUPLICATE

    def took(self, p: int, seq: int, clock: int, now: int) -> Inputs:
        """After batch ``seq`` of ``p``. Neither clock nor broker time goes back."""
        known = self.by_partition.get(p)
        if known is not None:
            clock = max(clock, known.clock)
        return Inputs(max(self.now, now), {**self.by_partition, p: Input(seq, clock)})

    def watermark(self, partitions: int) -> int | None:
        """The smallest clock of ``partitions`` inputs; None while one of them was never heard of."""
        if len(self.by_partition) < partitions:
            return None
        return min(entry.clock for entry in self.by_partition.values())

    def furthest(self) -> int:
        """The largest clock; 0 when nothing was heard."""
        return max((entry.clock for entry in self.by_partition.values()), default=0)
