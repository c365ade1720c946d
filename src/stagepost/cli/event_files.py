"""Recorded events as the verbs read them: a file, a ``.zst``, or standard input; bad lines told and skipped.

Bounded: one line is held at a time, and no more of it than a line can be. On a terminal a large file shows a bar with
rate and remaining time on standard error.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from stagepost.cli.output import VOICE, Failure, complain
from stagepost.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from stagepost.events import Event
    from stagepost.journey.simulate import Simulation

LINE_LIMIT = 1 << 20
"""Bytes of a line that are held: four times what an event may have, so that a longer one is told as what it is."""

LARGE = 4 << 20
"""Bytes of a file (as it lies there, compressed or not) from which it is worth a bar: some seconds."""


class BadLines:
    """Counts lines that are no event, and says each on standard error."""

    def __init__(self) -> None:
        self.count = 0
        self.ahead = 0
        self.first_ahead = ""

    def add(self, number: int, reason: str, detail: str) -> None:
        self.count += 1
        complain(f"line {number}: {reason}: {detail}")

    def note_ahead(self, number: int, event: Event) -> None:
        """Of an event that a worker would refuse for its time, which here is as good as any."""
        self.ahead += 1
        self.first_ahead = self.first_ahead or f"line {number}, {event.id!r} of {event.occurred_at}"


def tell_late(simulation: Simulation, bad: BadLines) -> None:
    """Say on standard error how many events came too late to move anybody, and behind which one: a file out of order,
    or a single time in the future, looks like a rule that does not work."""
    from stagepost.journey.durations import duration_text
    from stagepost.journey.result import Outcome

    if bad.ahead:
        complain(
            f"{counted(bad.ahead, 'event')} of the future moved the clock there; from more than 24 h ahead of now a "
            f"worker takes none (implausible-time). The first is {bad.first_ahead}"
        )
    if not simulation.late:
        return
    worst = max(simulation.late.values(), key=lambda late: late.count)
    late, foremost = worst.first, worst.foremost
    span = duration_text(simulation.program.lateness)
    complain(
        f"{counted(simulation.outcomes[Outcome.LATE], 'event')} came late, more than {span} behind the clock, and "
        "moved nobody but by withdrawals and complaints"
    )
    complain(
        f"  {worst.count:,} of them, {late.id!r} of {late.occurred_at} first, behind {foremost.id!r} of "
        f"{foremost.occurred_at}, which had moved the clock ahead: is that time right, and the file in order of "
        "occurred_at?"
    )


def read_events(name: str, bad: BadLines, option: str = "--events") -> Iterator[tuple[Event, int]]:
    """Events of a file (``-``: standard input), read as the worker reads them, each with its time; blank lines skipped.

    A file that is not there is a usage error of ``option`` at once; one that breaks off raises Failure on the way.
    """
    if name == "-":
        return _events(_lines(sys.stdin.buffer), bad)
    path = Path(name)
    if path.is_dir():
        raise typer.BadParameter(f"{name}: a folder, not a file", param_hint=option)
    if not path.exists():
        raise typer.BadParameter(f"{name}: no such file", param_hint=option)
    return _events(_lines_of(path), bad)


def _events(lines: Iterable[bytes], bad: BadLines) -> Iterator[tuple[Event, int]]:
    from stagepost.engine.intake import AHEAD_LIMIT, read_event
    from stagepost.events import Rejected

    count, latest = 0, time.time_ns() // 1_000 + AHEAD_LIMIT
    try:
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text:
                continue
            read = read_event(text)
            if isinstance(read, Rejected):
                bad.add(number, read.reason, read.detail)
            else:
                count += 1
                if read.at > latest and not read.event.test:
                    bad.note_ahead(number, read.event)
                yield read.event, read.at
    except Failure as error:
        raise Failure(f"{error} ({counted(count, 'event')} read before)") from error


def _lines(feed: IO[bytes]) -> Iterator[bytes]:
    """Lines; of one that is too long its begin, and the rest is passed over."""
    while line := feed.readline(LINE_LIMIT):
        yield line
        while len(line) == LINE_LIMIT and not line.endswith(b"\n"):
            line = feed.readline(LINE_LIMIT)


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            lines = _lines(io.BufferedReader(_Decompressed(file), 1 << 20) if path.suffix == ".zst" else file)
            size = path.stat().st_size
            if size < LARGE or VOICE.quiet:
                yield from lines
                return
            from rich.console import Console

            yield from with_progress(lines, file.tell, size, Console(stderr=True), time.monotonic)
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror or error}") from error


class _Decompressed(io.RawIOBase):
    """What a zstd file holds, all of its frames; a broken one raises OSError, and so does one that was cut."""

    _PIECE = 1024
    """Bytes taken in at once: what a hostile file makes of them are some megabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file = file
        self._next_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame = self._next_frame()
        self._inside = False
        self._fault = zstandard.ZstdError
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and (piece := self._rest or self._file.read(self._PIECE)):
            self._take_in(piece)
        if not self._ready and self._inside:
            raise OSError("it ends inside a zstd frame, so it was cut")
        taken = min(len(buffer), len(self._ready))
        buffer[:taken] = self._ready[:taken]
        self._ready = self._ready[taken:]
        return taken

    def _take_in(self, piece: bytes) -> None:
        try:
            self._ready = memoryview(self._frame.decompress(piece))
        except self._fault as error:
            raise OSError(f"not zstd, or broken: {error}") from error
        self._inside = not self._frame.eof
        self._rest = self._frame.unused_data
        if self._frame.eof:
            self._frame = self._next_frame()


def with_progress(
    lines: Iterable[bytes], place: Callable[[], int], size: int, console: Console, clock: Callable[[], float]
) -> Iterator[bytes]:
    """The lines; on a terminal a bar with rate and remaining time, and at the end how many there were in what time.

    ``place``: bytes of the file read so far, of ``size``.
    """
    began, count = clock(), 0
    if not console.is_terminal:
        for line in lines:
            count += 1
            yield line
    else:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=size, rate="")
            for line in lines:
                count += 1
                if count % 1000 == 0:
                    progress.update(task, completed=place(), rate=_rate(count, clock() - began))
                yield line
    console.print(f"{count:,} lines in {clock() - began:.1f} s, {_rate(count, clock() - began)}", highlight=False)


def _rate(count: int, elapsed: float) -> str:
    return f"{count / elapsed:,.0f} lines/s" if elapsed > 0 else ""
