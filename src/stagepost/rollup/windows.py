"""Tumbling windows over 5-minute bins of event time, aligned to UTC (design.md 3.4).

May not contain: counts, a clock. Starts and widths are in bins; ``times`` gives micros.
"""

from __future__ import annotations

from msgspec import Struct

from stagepost.events import BIN, DAY, HOUR

LATENESS = 6 * HOUR
"""How long after its end, on the watermark, a window waits for late counts before it is final (design.md 3.4)."""

_BINS_OF_DAY = DAY // BIN
_MONDAY = 4 * _BINS_OF_DAY
"""The first Monday: 1970-01-01 was a Thursday."""


class Window(Struct, frozen=True):
    """One length of window. ``bins`` None: the life of the scope."""

    name: str
    bins: int | None
    offset: int
    kept: int
    """Micros after its end for which a window takes late counts; later ones are in the longer windows only."""

    def start_of(self, bin_: int) -> int:
        """First bin of the window that holds ``bin_``; 0 for the life of the scope, so that its key never changes."""
        if self.bins is None:
            return 0
        return (bin_ - self.offset) // self.bins * self.bins + self.offset

    def end_of(self, start: int) -> int | None:
        """End in micros of the window that begins with bin ``start``; None: it has none."""
        return None if self.bins is None else (start + self.bins) * BIN

    def final_at(self, start: int) -> int | None:
        """Watermark from which the window is final; None: never."""
        end = self.end_of(start)
        return None if end is None else end + LATENESS

    def takes(self, start: int, reference: int) -> bool:
        """Whether the window still takes counts when event time has come to ``reference``."""
        end = self.end_of(start)
        return end is None or end + self.kept > reference


WINDOWS = (
    # Kept as alerts.md 2 keeps its bins; a provider that reports later than that is seen by the hour.
    Window("5m", 1, 0, 78 * HOUR),
    # Providers resend for days; a week covers all that are documented (providers.md 2).
    Window("1h", 12, 0, 8 * DAY),
    Window("1d", _BINS_OF_DAY, 0, 35 * DAY),
    Window("7d", 7 * _BINS_OF_DAY, _MONDAY, 182 * DAY),
    Window("all", None, 0, 0),
)
"""From short to long; the last one takes every count."""

BY_NAME = {window.name: window for window in WINDOWS}
