"""A script of its own: ends a process group and removes a folder as soon as its standard input closes.

Standard input is a pipe held by one parent alone, so it closes when the parent ends in any way, ``kill -9`` included.
Run by path with ``-I -S`` (about 20 ms), hence the standard library only, and nothing of stagepost.

Arguments: seconds between SIGTERM and SIGKILL, the folder. Prints the number of the process group to be joined.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress


def hold_group() -> int:
    """A process that does nothing but keep a new process group in being; it ends with this one. Returns its pid."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        os.setpgid(pid, pid)
        return pid
    os.close(writer)
    os.close(0)
    os.close(1)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.read(reader, 1)
    os._exit(0)


def alive(group: int) -> bool:
    """Whether a process of the group is left; our own child is reaped first."""
    with suppress(ChildProcessError):
        os.waitpid(group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def send(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def main() -> None:
    grace, folder = float(sys.argv[1]), sys.argv[2]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    group = hold_group()
    print(group, flush=True)
    while os.read(0, 4096):
        pass
    send(group, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    send(group, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
