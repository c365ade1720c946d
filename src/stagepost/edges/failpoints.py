"""Faults at named steps of the runner: ``STAGEPOST_FAILPOINT=name:action[:nth]``, several by comma.

The steps are those of delivery.md 5. What lies between the request that ends a transaction and its answer
(``end_sent``) cannot be hit from inside a call of the client library; a proxy before the broker does that.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

NAMES = (
    *("after_consume", "after_read", "mid_produce", "before_offsets", "after_offsets", "before_end", "committed"),
    *("mid_apply", "applied", "restore_committed", "restore_mid", "restore_done", "in_revoke"),
)
"""In the order in which a batch and a restore meet them."""

ACTIONS = ("kill", "stop", "raise", "delay")
"""SIGKILL, SIGSTOP (somebody else sends SIGCONT), an error that nobody foresees, a pause."""


class FailpointError(Exception):
    """What ``raise`` raises: an error of no known kind, which has to end the process."""


def failpoint_of(text: str | None, delay_s: float) -> Callable[[str], None]:
    """What the runner calls with the name of each step. ``delay_s`` is how long ``delay`` pauses.

    Raises ValueError for a text that names no step or no action.

    >>> failpoint_of(None, 1.0) is failpoint_of("", 1.0)
    True
    >>> failpoint_of("committed:explode", 1.0)
    Traceback (most recent call last):
    ValueError: STAGEPOST_FAILPOINT: committed:explode is not NAME:ACTION[:NTH]
    """
    if not text:
        return _nothing
    plan = dict(_parsed(one) for one in text.split(","))
    met: Counter[str] = Counter()

    def failpoint(name: str) -> None:
        action = plan.get((name, met[name] + 1))
        met[name] += 1
        if action is not None:
            # Not through the log: a process that kills itself has no time to flush one.
            os.write(2, f"failpoint {name}:{action}\n".encode())
            _act(name, action, delay_s)

    return failpoint


def _parsed(text: str) -> tuple[tuple[str, int], str]:
    name, action, nth = [*text.split(":"), "", ""][:3]
    if name not in NAMES or action not in ACTIONS or not (nth or "1").isdecimal():
        raise ValueError(f"STAGEPOST_FAILPOINT: {text} is not NAME:ACTION[:NTH]")
    return (name, int(nth or 1)), action


def _act(name: str, action: str, delay_s: float) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointError(name)
        case _:
            time.sleep(delay_s)


def _nothing(name: str) -> None:
    """No failpoint is set."""
