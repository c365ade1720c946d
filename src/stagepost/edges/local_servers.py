"""What the servers that we start ourselves have in common: free ports, waiting for an answer, one error type."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from stagepost.edges.processes import Child

HOST = "127.0.0.1"


class LocalServerError(Exception):
    """A local server cannot be started here; the message says why and what to do."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Another process may take one first, so starting has to be tried again."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def answers(port: int) -> bool:
    """Whether somebody listens on ``port`` of this machine."""
    try:
        socket.create_connection((HOST, port), 0.2).close()
    except OSError:
        return False
    return True


def wait_until(child: Child, ready: Callable[[], bool], within_s: float) -> None:
    """Poll until ``ready``; raises LocalServerError with the end of the log when the child ends or time is up."""
    deadline = time.monotonic() + within_s
    while not ready():
        code = child.poll()
        if code is not None:
            raise LocalServerError(f"{child.name} ended with code {code} while starting:\n{child.tail()}")
        if time.monotonic() > deadline:
            raise LocalServerError(f"{child.name} did not answer within {within_s:g} s:\n{child.tail()}")
        time.sleep(0.03)
