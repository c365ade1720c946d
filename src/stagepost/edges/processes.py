"""Child processes that never outlive us: a guarded process group, and a supervisor that restarts what ends.

May not contain: which roles there are or how one is configured; a caller gives complete command lines.

Its law: no process and no file stays behind, however this process ends. A guard (``guard.py``) holds the read end of a
pipe that only we hold open, and all children are in a process group of its making; when the pipe closes, the guard ends
the group and removes the folder. Being in another group, children do not see the terminal's Ctrl-C: they are stopped
in order by their owner. POSIX only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL. Roles that commit need longer and are stopped by their supervisor first."""


class Child:
    """A started process. Its pid is real, so it may be signalled and frozen from outside."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path | None) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Exit code, or None when it still runs after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> int:
        """SIGKILL; returns the exit code."""
        self._process.kill()
        return self._process.wait()

    def stop(self, grace_s: float = GRACE_S) -> int:
        """SIGTERM, after ``grace_s`` SIGKILL; returns the exit code."""
        self._process.terminate()
        code = self.wait(grace_s)
        return self.kill() if code is None else code

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log file; empty without one."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class ProcessGroup:
    """Children and a temporary folder that end with this process. Use as a context manager, or call ``close``."""

    def __init__(self, grace_s: float = GRACE_S, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: what children inherit; None: our own."""
        self.folder = Path(tempfile.mkdtemp(prefix="stagepost-"))
        self._grace_s = grace_s
        self._environment = dict(os.environ if environment is None else environment)
        self._children: list[Child] = []
        guard = Path(__file__).with_name("guard.py")
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(guard), str(grace_s), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._pipe = self._guard.stdin
        with self._guard.stdout as answer:
            line = answer.readline()
        if not line:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise OSError(f"the guard of child processes did not start: {guard}")
        self._group = int(line)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Start a process in the group. ``env`` is added to what all inherit; ``log`` takes both outputs, None shares
        ours; ``cwd`` None is our own folder."""
        output = None if log is None else log.open("ab")
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environment, **(env or {})},
                cwd=cwd,
                process_group=self._group,
            )
        finally:
            if output is not None:
                output.close()
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def subfolder(self, name: str) -> Path:
        """A new folder inside ``folder``."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def close(self) -> None:
        """Stop what runs, newest first, and remove the folder. May be called twice."""
        for child in reversed(self._children):
            if child.poll() is None:
                child.stop(self._grace_s)
        self._pipe.close()
        self._guard.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Command:
    """What a supervisor keeps running."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    cwd: Path | None = None


@dataclass(frozen=True)
class Exit:
    """A child ended. ``restart_in_s`` None: it stays down."""

    name: str
    code: int
    restart_in_s: float | None


def role_command(role: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs a role in a process of its own, with this interpreter."""
    return (sys.executable, "-m", "stagepost", "run", role, *arguments)


class Supervisor:
    """Keeps commands running: ended ones are started again after growing pauses.

    Exit codes 0 (asked to stop) and 2 (settings wrong) are final, and so is an end after the last of ``pauses_s``.
    Nothing happens by itself: the owner calls ``check`` a few times a second.
    """

    def __init__(
        self,
        group: ProcessGroup,
        commands: Sequence[Command],
        pauses_s: Sequence[float] = (0.5, 1, 2, 5, 10, 20, 30, 30, 30, 30),
        stable_after_s: float = 60,
    ) -> None:
        self._group = group
        self._commands = {command.name: command for command in commands}
        self._pauses_s = tuple(pauses_s)
        self._stable_after_s = stable_after_s
        self._running: dict[str, Child] = {}
        self._started: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self.down: dict[str, int] = {}
        """Names that stay down, with the exit code."""

    def start(self) -> None:
        for name in self._commands:
            self._start(name)

    @property
    def running(self) -> Mapping[str, Child]:
        """Children by name, without those that wait for their restart."""
        return self._running

    def check(self) -> tuple[Exit, ...]:
        """What ended since the last call; starts what is due again."""
        now = time.monotonic()
        exits = []
        for name, child in list(self._running.items()):
            code = child.poll()
            if code is not None:
                del self._running[name]
                exits.append(self._ended(name, code, now))
        for name in [name for name, due in self._due.items() if due <= now]:
            del self._due[name]
            self._start(name)
        return tuple(exits)

    def stop(self, grace_s: float) -> dict[str, int]:
        """SIGTERM to all at once, SIGKILL to those left after ``grace_s``. Returns exit codes by name."""
        self._due.clear()
        for child in self._running.values():
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        codes = {}
        for name, child in self._running.items():
            code = child.wait(max(0.0, deadline - time.monotonic()))
            codes[name] = child.kill() if code is None else code
        self._running.clear()
        return codes

    def kill(self) -> None:
        """SIGKILL to all, now."""
        self._due.clear()
        for child in self._running.values():
            child.kill()
        self._running.clear()

    def _start(self, name: str) -> None:
        command = self._commands[name]
        self._running[name] = self._group.start(name, command.argv, command.env, command.log, command.cwd)
        self._started[name] = time.monotonic()

    def _ended(self, name: str, code: int, now: float) -> Exit:
        if now - self._started[name] >= self._stable_after_s:
            self._failures[name] = 0
        failures = self._failures.get(name, 0)
        if code in (0, 2) or failures >= len(self._pauses_s):
            self.down[name] = code
            return Exit(name, code, None)
        self._failures[name] = failures + 1
        self._due[name] = now + self._pauses_s[failures]
        return Exit(name, code, self._pauses_s[failures])
