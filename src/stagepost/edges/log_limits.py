"""Fewer of the same log lines: a lost broker gives about 2,000 lines of aiokafka in 20 s (faust.md, rule 7), and 300 of
librdkafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY_S = 30.0
"""One line of a kind in this time, with the number of those left out."""

LIBRDKAFKA = "librdkafka"
"""The logger that all clients of the broker are given."""

KINDS_LIMIT = 1000
"""Kinds of lines that are remembered."""


class RateLimit(logging.Filter):
    """A filter for handlers: of the loggers below ``names``, one line of each kind passes every ``EVERY_S`` seconds.

    A kind is logger, level and the text before its arguments are put in; of librdkafka, whose lines all have one text,
    its facility (``FAIL``, ``ERROR``). The next line that passes says how many did not.
    """

    def __init__(self, *names: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._names = tuple(f"{name}." for name in names)
        self._clock = clock
        self._passed: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not f"{record.name}.".startswith(self._names):
            return True
        kind = (record.name, record.levelno, str(record.msg)[:200] + _facility(record))
        now = self._clock()
        passed_at, left_out = self._passed.get(kind, (-EVERY_S, 0))
        if now - passed_at < EVERY_S:
            self._passed[kind] = (passed_at, left_out + 1)
            return False
        if len(self._passed) >= KINDS_LIMIT:
            self._passed.clear()
        self._passed[kind] = (now, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} more like it)"
            record.args = ()
        return True


def _facility(record: logging.LogRecord) -> str:
    arguments = record.args
    return str(arguments[0])[:40] if record.name == LIBRDKAFKA and isinstance(arguments, tuple) and arguments else ""
