"""Counters of one scope by window: adding is merging, so any order and any cut into batches gives the same sums.

A cell that changed is written (``flush``) when its time comes; one whose window is over is closed once (``close``).
May not contain: rates, thresholds, when to write (the caller knows the time).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from stagepost.rollup.windows import BY_NAME, WINDOWS, Window

_SHORT = ("5m", "1h")
"""Windows of which a scope can have a thousand."""


class Cell(Struct, frozen=True, array_like=True):
    """One window's counts. ``counts`` follow the scope's ``names``; missing ones at the end are 0."""

    rev: int
    """Records written of it."""
    final: bool
    changed: bool
    """Since it was last written."""
    counts: tuple[int, ...]


class Counters(Struct, array_like=True):
    """All counters of a scope. Cells are never changed in place, so a copy of the outer maps is a copy."""

    names: tuple[str, ...] = ()
    """Metrics in the order in which the scope first had them."""
    cells: dict[str, dict[int, Cell]] = {}
    """By window name and first bin."""

    def copy(self) -> Counters:
        return Counters(self.names, {name: dict(cells) for name, cells in self.cells.items()})

    def add(self, bin_: int, deltas: Mapping[str, int], reference: int) -> dict[str, int]:
        """Add the deltas of one bin to every window that takes them when event time has come to ``reference``.

        Returns what came too late: by window name, how much of it the window did not take.
        """
        missing = tuple(name for name in deltas if name not in self.names)
        self.names += missing
        by_index = {self.names.index(name): n for name, n in deltas.items()}
        late: dict[str, int] = {}
        for window in WINDOWS:
            start = window.start_of(bin_)
            if not window.takes(start, reference):
                late[window.name] = sum(deltas.values())
                continue
            cells = self.cells.setdefault(window.name, {})
            cells[start] = _plus(cells.get(start), by_index)
        return late

    def counts(self, cell: Cell) -> dict[str, int]:
        """The counts of a cell by metric, zeros left out."""
        return {name: n for name, n in zip(self.names, cell.counts, strict=False) if n}

    def life(self) -> dict[str, int]:
        """Counts over the life of the scope."""
        cell = self.cells.get("all", {}).get(0)
        return {} if cell is None else self.counts(cell)

    def next_due(self) -> int | None:
        """Watermark at which the first open window has to be closed; when none is open, the one from which all short
        windows can be forgotten, so that a scope that is over becomes small; None when there are none."""
        waiting = [
            final_at
            for window in WINDOWS
            for start, cell in self.cells.get(window.name, {}).items()
            if not cell.final and (final_at := window.final_at(start)) is not None
        ]
        if waiting:
            return min(waiting)
        forgettable = [
            end + BY_NAME[name].kept
            for name in _SHORT
            for start in self.cells.get(name, {})
            if (end := BY_NAME[name].end_of(start)) is not None
        ]
        return max(forgettable, default=None)

    def close(self, watermark: int) -> Iterator[tuple[Window, int, Cell]]:
        """Close the windows that ``watermark`` has passed by the lateness, and yield each as it is to be written."""
        for window in WINDOWS:
            cells = self.cells.get(window.name, {})
            for start in sorted(start for start, cell in cells.items() if not cell.final):
                final_at = window.final_at(start)
                if final_at is not None and final_at <= watermark:
                    cells[start] = replace(cells[start], rev=cells[start].rev + 1, final=True, changed=False)
                    yield window, start, cells[start]

    def flush(self) -> Iterator[tuple[Window, int, Cell]]:
        """Yield every changed window as it is to be written. One that was final stays so with a new ``rev``."""
        for name in [window.name for window in WINDOWS if window.name in self.cells]:
            cells = self.cells[name]
            for start in sorted(start for start, cell in cells.items() if cell.changed):
                cells[start] = replace(cells[start], rev=cells[start].rev + 1, changed=False)
                yield BY_NAME[name], start, cells[start]

    def forget(self, reference: int) -> None:
        """Drop the windows that take no counts any more when event time has come to ``reference``, but for those of
        which something is still to be written."""
        for name, cells in self.cells.items():
            window = BY_NAME[name]
            over = [at for at, cell in cells.items() if not cell.changed and not window.takes(at, reference)]
            for start in over:
                del cells[start]


def _plus(cell: Cell | None, by_index: Mapping[int, int]) -> Cell:
    counts = list(cell.counts) if cell is not None else []
    counts += [0] * (max(by_index) + 1 - len(counts))
    for index, n in by_index.items():
        counts[index] += n
    if cell is None:
        return Cell(0, False, True, tuple(counts))
    return Cell(cell.rev, cell.final, True, tuple(counts))
