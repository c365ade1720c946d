"""How verbs speak: data on standard output, everything else on standard error, failures with an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import typer

DONE, FAILED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes of experience.md 2; PARTLY: done, but some input was skipped or rejected."""


class Failure(Exception):
    """A verb cannot go on: what, where, and how to mend it. Ends the process with code 1."""


@contextmanager
def server_failures(servers: str, url: str) -> Iterator[None]:
    """What Kafka or Redis refuses or does not answer becomes a failure that names the one and its setting.

    ``servers``: of Kafka. ``url``: of Redis.
    """
    from confluent_kafka import KafkaException
    from redis import RedisError

    from stagepost.edges.errors import EdgeError, in_words

    try:
        yield
    except (KafkaException, RedisError, EdgeError) as error:
        told = in_words(error, servers, url)
        if told is None:
            raise
        raise Failure(told) from error


def data(text: str) -> None:
    """One line of what was asked for."""
    typer.echo(text)


def json_data(value: object) -> None:
    """One JSON object, on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


@dataclass
class Voice:
    """How much this command line says beside its data: what ``-q`` and ``-v`` set."""

    quiet: bool = False
    verbose: bool = False


VOICE = Voice()


def note(text: str) -> None:
    """One line for the person at the terminal, unless ``-q`` says that it may go."""
    if not VOICE.quiet:
        typer.echo(text, err=True)


def complain(text: str) -> None:
    """One line that also ``-q`` shows: what is wrong, was left out, or may mislead."""
    typer.echo(text, err=True)


def leave(code: int) -> NoReturn:
    """End the verb with an exit code."""
    raise typer.Exit(code)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with remaining time on standard error where that is a terminal, nothing elsewhere; takes (done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=VOICE.quiet or not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def step_at_hand() -> Iterator[Callable[[str], None]]:
    """What is being waited for, for work in few steps of which each may take long; takes the name of the step.

    On a terminal a line that goes away, else a line on standard error for each.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if VOICE.quiet or not console.is_terminal:
        yield note
    else:
        with console.status("") as status:
            yield status.update


@contextmanager
def rate_bar(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """The same for work in parts, each with its rate: takes (part, done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, rate="")
        part = ""

        def show(now: str, done: int, of: int) -> None:
            nonlocal part
            if now != part:
                part = now
                bar.reset(task, total=of, description=now, rate="")
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=of, rate=f"{speed:,.0f}/s" if speed else "")

        yield show
