"""Reading events for the verbs: files of JSON lines, packed or not, or standard input; bad lines are told."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from stagepost.cli.output import note

if TYPE_CHECKING:
    from stagepost.events import Event

LINE_LIMIT = 8 << 20
"""Bytes of one line of events; a longer one is a bad line."""


class BadLines:
    """Counts lines that are no event, and says each on standard error."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int, reason: str, detail: str) -> None:
        self.count += 1
        note(f"line {number}: {reason}: {detail}")


@contextmanager
def opened(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """The file, standard input for ``-``, or what a ``.zst`` holds; and its size on disk where that is known."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    if not path.is_file():
        raise typer.BadParameter(f"{name}: no such file", param_hint="--events")
    with path.open("rb") as file:
        if path.suffix == ".zst":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(file) as plain:
                yield io.BufferedReader(plain), None
        else:
            yield file, path.stat().st_size


def events_of(lines: IO[bytes], size: int | None, bad: BadLines) -> Iterator[tuple[Event, int]]:
    """Events of the lines that hold one, read as the worker reads them; empty lines are nothing."""
    from stagepost.engine.intake import read_event
    from stagepost.events import Rejected

    for number, line in enumerate(_with_progress(lines, size), start=1):
        if not line.strip():
            continue
        read = read_event(line.strip())
        if isinstance(read, Rejected):
            bad.add(number, read.reason, read.detail)
        else:
            yield read.event, read.at


def _with_progress(lines: IO[bytes], size: int | None) -> Iterator[bytes]:
    """The lines; a bar with rate and remaining time on a terminal, for what takes longer than a moment."""
    feed = iter(lambda: lines.readline(LINE_LIMIT), b"")
    if size is None or size < 4 << 20 or not sys.stderr.isatty():
        yield from feed
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), TaskProgressColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)
        for line in feed:
            progress.advance(task, len(line))
            yield line
