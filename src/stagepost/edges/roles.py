"""What a running role shows to the command line and to the health server, whatever carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

PORTS: Mapping[str, int] = MappingProxyType({"normalise": 8081, "journey": 8082, "rollup": 8083, "notify": 8084})
"""Roles in the order of the data, with the port of each one's health server."""

BRIDGE_PORT = 8085

BASE_PORT = 8080
"""What ``--port`` replaces for ``run all``: the others keep their distance from it."""


@dataclass(frozen=True)
class RunOptions:
    """What ``stagepost run`` was asked beside the settings."""

    instance: str
    """Part of the transactional id. Unique per process unless the user named a stable one: two live processes with
    one id fence each other for ever."""
    start: str = "earliest"
    """Where to begin when nothing was ever committed: ``earliest``, ``latest`` or an RFC 3339 time."""
    named: bool = False
    """Whether a user named the instance: then it is a static member of its group, so that a restart within the session
    timeout takes its partitions up again at once; once stopped, they wait for as long."""
    rebuild: bool = False
    """Accept that an operator moved the committed offset, and rebuild from there (delivery.md S6)."""


@dataclass(frozen=True)
class Status:
    """A role's state at a glance, cheap to make: it is asked every few seconds."""

    polled_at: float
    """``time.monotonic()`` of the last turn of the poll loop."""
    max_poll_s: float
    """The loop counts as alive while its last turn is younger: ``max.poll.interval.ms`` in seconds."""
    not_ready: tuple[str, ...] = ()
    """Why it does not serve yet, or no longer: no partition assigned, restore running, Redis silent. Empty: ready."""


class Role(Protocol):
    """One role in one process."""

    @property
    def status(self) -> Status: ...

    def run(self) -> None:
        """Work until ``stop``; called once, in the main thread. Raises what ends the process."""
        ...

    def stop(self) -> None:
        """Ask ``run`` to finish its batch and return. Called from a signal handler: sets a flag, and no more."""
        ...
