"""How verbs speak: data on standard output, everything else on standard error, failures with an exit code."""

from __future__ import annotations

import json
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
