"""How verbs speak: data on standard output, everything else on standard error, failures with an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

DONE, FAILED, USAGE, PARTLY = 0, 1, 2, 3
"""Exit codes of experience.md 2; PARTLY: done, but some input was skipped or rejected. 130 is an interruption."""


class Failure(Exception):
    """A verb cannot go on: what, where, and how to mend it. Ends the process with code 1."""


def data(text: str) -> None:
    """One line of what was asked for."""
    typer.echo(text)


def json_data(value: object) -> None:
    """One JSON object, on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def note(text: str) -> None:
    """One line for the person at the terminal."""
    typer.echo(text, err=True)


def leave(code: int) -> NoReturn:
    """End the verb with an exit code."""
    raise typer.Exit(code)


def counted(n: int, thing: str) -> str:
    """
    >>> counted(1, "line"), counted(1200, "line")
    ('1 line', '1,200 lines')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with remaining time on standard error where that is a terminal, nothing elsewhere; takes (done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
