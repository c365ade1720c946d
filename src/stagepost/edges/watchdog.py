"""Ends the process when a call of the client library hangs past its own timeout.

Proven to happen: after a broker restart ``send_offsets`` may never return (delivery.md 3, N6). The next start reads
from the committed offsets what became of the transaction, so ending here is as safe as any other crash.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_S = 0.5


def end_process(what: str) -> None:
    """Exit 1 without any clean-up: the thread that hangs holds what a clean-up would need."""
    print(f"stagepost: {what} did not return in time; ending this process, the next one settles it", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)


class Watchdog:
    """One thread that looks after the calls of another one. ``on_expiry`` is called in the watching thread."""

    def __init__(self, on_expiry: Callable[[str], None] = end_process) -> None:
        self._on_expiry = on_expiry
        self._watched: tuple[float, str] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @contextmanager
    def limit(self, seconds: float, what: str) -> Iterator[None]:
        """The body must be done within ``seconds``. Not to be nested."""
        if not self._thread.is_alive() and not self._closed.is_set():
            self._thread.start()
        self._watched = (time.monotonic() + seconds, what)
        try:
            yield
        finally:
            self._watched = None

    def close(self) -> None:
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            watched = self._watched
            if watched is not None and time.monotonic() > watched[0]:
                self._watched = None
                self._on_expiry(watched[1])
