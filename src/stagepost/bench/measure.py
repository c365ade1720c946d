"""Running several jobs in turn, and what to say of it: medians with their range, CPU time first.

Jobs run A B C, A B C, ...: what slows the machine for a while slows them all. May not contain: what a job does.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Job:
    """Something to time: ``prepare`` makes what one round needs, untimed; ``work`` is timed and does ``events``."""

    name: str
    events: int
    prepare: Callable[[], Any]
    work: Callable[[Any], None]


@dataclass(frozen=True)
class Figure:
    """Microseconds per event over the rounds of one job. CPU is of this process, all its threads."""

    name: str
    events: int
    cpu_us: tuple[float, ...]
    wall_us: tuple[float, ...]

    @property
    def median_us(self) -> float:
        """CPU microseconds per event."""
        return statistics.median(self.cpu_us)

    @property
    def per_core(self) -> float:
        """Events per second of one core."""
        return 1e6 / self.median_us

    @property
    def per_s(self) -> float:
        """Events per second by the clock on the wall."""
        return 1e6 / statistics.median(self.wall_us)

    def as_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "rounds": len(self.cpu_us),
            "cpu_us": {"median": _3(self.median_us), "min": _3(min(self.cpu_us)), "max": _3(max(self.cpu_us))},
            "wall_us": {"median": _3(statistics.median(self.wall_us))},
            "events_per_core_s": round(self.per_core),
        }


def measure(
    jobs: Sequence[Job], rounds: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[Figure, ...]:
    """Each job ``rounds`` times in turn, after one round that is not counted. ``progress``: runs done, of how many."""
    cpu: dict[str, list[float]] = {job.name: [] for job in jobs}
    wall: dict[str, list[float]] = {job.name: [] for job in jobs}
    total = (rounds + 1) * len(jobs)
    for number in range(rounds + 1):
        for place, job in enumerate(jobs):
            given = job.prepare()
            gc.collect()
            wall_began, cpu_began = time.perf_counter(), time.process_time()
            job.work(given)
            cpu_s, wall_s = time.process_time() - cpu_began, time.perf_counter() - wall_began
            if number:
                cpu[job.name].append(cpu_s / job.events * 1e6)
                wall[job.name].append(wall_s / job.events * 1e6)
            progress(number * len(jobs) + place + 1, total)
    return tuple(Figure(job.name, job.events, tuple(cpu[job.name]), tuple(wall[job.name])) for job in jobs)


def ratio(figure: Figure, yardstick: Figure) -> float:
    """How many times the CPU of ``yardstick`` an event takes: the median over pairs of the same round."""
    pairs = zip(figure.cpu_us, yardstick.cpu_us, strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def machine() -> Mapping[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("stagepost", "msgspec", "confluent-kafka", "redis", "google-re2")
        },
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _3(value: float) -> float:
    return round(value, 3)
