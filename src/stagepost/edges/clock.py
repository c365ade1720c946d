"""The process's own time, as one value that whoever plays the edges can replace.

Only how long things take and how old a mirror is are judged by it; events and timers have the broker's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


def _wall_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Clock:
    """What passes, what the wall clock shows in micros, and waiting. The default is the machine's."""

    monotonic: Callable[[], float] = time.monotonic
    wall_us: Callable[[], int] = _wall_us
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()
