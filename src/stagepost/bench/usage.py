"""What processes took from the machine: CPU time of all their threads, and the most memory they held.

Read from /proc, hence Linux. Parsing is pure and apart from reading. May not contain: what is measured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)

WARM = 0.2
"""The first part of the events, not counted: caches and compilers are cold, groups still join."""


@dataclass(frozen=True)
class Sample:
    """How far the processes were at a time: seconds of a monotonic clock, events committed, CPU seconds so far."""

    at: float
    done: int
    cpu_s: float


@dataclass(frozen=True)
class Taken:
    """What ``events`` cost between two commits."""

    events: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per event."""
        return self.cpu_s / self.events * 1e6

    @property
    def wall_us(self) -> float:
        """Microseconds per event by the clock on the wall."""
        return self.wall_s / self.events * 1e6


def between_commits(samples: Sequence[Sample], total: int) -> Taken:
    """From the first commit behind the warm-up to the first sight of the last one.

    Where that leaves less than half of the events, as commits are few, from the last sight of none at all: then the
    start of the process is part of it, which more events make small.
    """
    last = next(sample for sample in samples if sample.done >= total)
    warm = [sample for sample in samples if WARM * total <= sample.done <= total / 2]
    first = warm[0] if warm else [sample for sample in samples if sample.done == 0][-1]
    # A job of a few milliseconds took no less than what the clock can tell.
    return Taken(last.done - first.done, max(last.cpu_s - first.cpu_s, 1 / _TICKS), last.at - first.at)


def ticks_of(stat: str) -> int:
    """Clock ticks of user and system time in a line of /proc/PID/stat, whose second field may hold anything.

    >>> ticks_of("7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 120 30 4 5 20 0 1 0 99")
    150
    """
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def peak_of(status: str) -> int:
    """Bytes of the largest resident size in /proc/PID/status; 0 for one that has ended.

    >>> peak_of("Name:\\tpython\\nVmHWM:\\t  2048 kB\\nThreads:\\t3\\n")
    2097152
    """
    found = _PEAK.search(status)
    return int(found[1]) * 1024 if found else 0


def cpu_s(pids: Iterable[int]) -> float:
    """Of all threads of these processes, living and ended ones. Raises OSError for a process that is gone."""
    return sum(ticks_of(Path(f"/proc/{pid}/stat").read_text()) for pid in pids) / _TICKS


def peak_bytes(pids: Iterable[int]) -> int:
    """The largest resident size of each, added up. Raises OSError for a process that is gone."""
    return sum(peak_of(Path(f"/proc/{pid}/status").read_text()) for pid in pids)


def readable() -> bool:
    """Whether this system tells."""
    return Path("/proc/self/stat").exists()


@dataclass(frozen=True)
class Cores:
    """Who may run where, so that the broker's work does not disturb the worker's."""

    broker: frozenset[int]
    worker: frozenset[int]

    @property
    def both(self) -> frozenset[int]:
        return self.broker | self.worker

    @property
    def apart(self) -> bool:
        return not self.broker & self.worker


def split(available: Iterable[int]) -> Cores:
    """The first core for the broker, the last for the worker; with one core both share it.

    >>> split([3, 1, 2]).worker, split([5]).apart
    (frozenset({3}), False)
    """
    cores = sorted(available)
    return Cores(frozenset(cores[:1]), frozenset(cores[-1:]))


def own_cores() -> Cores:
    """Of the cores that we may use; without affinity (not Linux) nobody is told where to run."""
    ask: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return split(ask(0)) if ask is not None else Cores(frozenset(), frozenset())


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Processes started inside run on ``cores`` only: a child takes over where its parent may run."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
