"""Ending on request: the first SIGTERM or SIGINT asks, the second one does not wait."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_TO_STOP = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping(stop: Callable[[], None], now: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While inside, the first signal calls ``stop``, which sets a flag and returns; the second calls ``now`` and ends
    the process with 128 + its number, finishing nothing. Main thread only."""
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            now()
            os._exit(128 + number)
        asked = True
        stop()

    before = {number: signal.signal(number, handle) for number in ASKED_TO_STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
