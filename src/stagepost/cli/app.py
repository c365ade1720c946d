"""The program: finds the verb's file, runs it, turns errors into exit codes.

A verb's file is imported only when the verb was typed, or when help lists them all.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, NoReturn

import typer

from stagepost import __version__
from stagepost.cli.options import Verbs
from stagepost.cli.output import DONE, FAILED, INTERRUPTED, USAGE, VOICE, Failure, complain

VERBS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "demo": ("demo",),
        "bridge": ("bridge",),
        "init": ("init",),
        "convert": ("convert",),
        "journeys": ("validate", "explain-code", "test"),
        "simulate": ("simulate",),
        "graph": ("graph",),
        "plan": ("plan",),
        "explain": ("explain",),
        "contact": ("contact",),
        "schema": ("schema",),
        "run": ("run",),
        "topics": ("topics",),
        "repartition": ("repartition",),
        "doctor": ("doctor",),
        "dlq": ("dlq",),
        "config": ("config",),
        "bench": ("bench",),
    }
)
"""Files of this package, in the order of ``--help``, with the verbs that their ``add_to`` registers."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """The app with the verb that ``arguments`` begin with, or with all when that is none."""
    app = typer.Typer(
        name="stagepost",
        cls=Verbs,
        help=(
            "Where each contact stands in each customer journey, from e-mail events on Kafka.\n\n"
            "Data goes to standard output, everything else to standard error. Exit code 0: done, 1: failed, or a "
            "problem was found, 2: wrong usage or settings (of plan 64, where 2 means changes), 3: done, but some "
            "input was skipped or rejected, 130: interrupted."
        ),
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
        ] = False,
    ) -> None: ...

    typed = arguments[0] if arguments else ""
    files = [file for file, verbs in VERBS.items() if typed in verbs] or list(VERBS)
    for file in files:
        importlib.import_module(f"stagepost.cli.{file}").add_to(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stagepost {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """What ``stagepost.__main__`` calls."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit code. An error that nobody expected is shown with its place in the code."""
    # What a client has to say stands in the error that ends a verb; the verbs that run on configure their own logs.
    logging.getLogger("librdkafka").disabled = True
    try:
        typer.main.get_command(build(arguments)).main(args=list(arguments), prog_name="stagepost")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:  # while the verb's file was imported; from then on typer sees it
        return INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _drop_output()
        complain(f"stagepost: {error.filename or 'standard output'}: {error.strerror}; what was written is not whole")
        return FAILED
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        if VOICE.verbose:
            complain("".join(traceback.format_exception(error)).rstrip())
        complain(f"stagepost: {error}")
        return code
    return DONE


def _drop_output() -> None:
    """Forget what is still to be written: the interpreter would try again at its end, and fail with a traceback."""
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _exit_code(error: Exception) -> int | None:
    """For errors that a user can mend; None for others. Imported here: most runs need none of these."""
    from stagepost.settings import SettingsError

    if isinstance(error, SettingsError):
        return USAGE
    if isinstance(error, Failure):
        return FAILED
    from stagepost.edges.errors import EdgeError
    from stagepost.edges.local_servers import LocalServerError

    return FAILED if isinstance(error, EdgeError | LocalServerError) else None
