"""``stagepost init``: a folder to begin with. The one place where a tenant key is made."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from stagepost.cli.event_files import BadLines, read_events
from stagepost.cli.options import Json
from stagepost.cli.output import INTERRUPTED, PARTLY, Failure, complain, json_data, leave, note
from stagepost.wording import counted

DEFAULT_EXAMPLE = "first-journey"

SAMPLE = 200_000
"""Events that --from looks at: some seconds, and enough to see what is frequent."""

SETTINGS = """\
# Settings of stagepost. Order: flag, environment, .env, this file, default.
# "stagepost config show --origin" says what is in force, and where it came from.

journeys = "journeys"    # folder of the journey files

[kafka]
bootstrap_servers = "localhost:9092"

[redis]
url = "redis://localhost:6379/0"

[identity]
# Key of the hash that makes a contact id of an e-mail address, made for this installation. All workers need the same
# one, and it never changes: with another key every contact is a stranger. Keep this file out of version control, or
# give the key as STAGEPOST_IDENTITY__TENANT_KEY_FILE instead.
tenant_key = "{key}"
"""


@dataclass(frozen=True, slots=True)
class _File:
    """What is to be written. ``replaceable``: --yes may put it in place of another; ``secret``: for its owner only."""

    path: Path
    text: str
    replaceable: bool = True
    secret: bool = False

    def is_there(self) -> bool:
        return self.path.exists() or self.path.is_symlink()

    def is_same(self) -> bool:
        try:
            return self.path.read_text(encoding="utf-8") == self.text
        except (OSError, UnicodeDecodeError):
            return False

    def write(self) -> None:
        """Raises Failure that names the file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if self.secret else 0o666
            with os.fdopen(
                os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
            ) as out:
                out.write(self.text)
        except OSError as error:
            raise Failure(f"{self.path}: cannot be written: {error.strerror}") from error


def add_to(app: typer.Typer) -> None:
    @app.command()
    def init(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to fill; default: this one.")] = Path(),
        sample: Annotated[
            str | None,
            typer.Option("--from", metavar="EVENTS|-", help="Propose links, campaigns and stages from these events."),
        ] = None,
        example: Annotated[
            str | None,
            typer.Option(
                "--example",
                metavar="NAME",
                help="first-journey (default), email-signals, lead-nurture, onboarding, product-interest, "
                "re-engagement, webinar or webinar-nurture.",
            ),
        ] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Overwrite journey and schema without asking.")] = False,
        as_json: Json = False,
    ) -> None:
        """Make a journey with tests, its schema, and settings.

        The journey is commented, its schema lies beside it for editors, stagepost.toml has a fresh key.

        Nothing is overwritten without being asked or told, stagepost.toml never.

        Example: stagepost init my-journeys --example lead-nurture
        """
        if sample is not None and example is not None:
            raise typer.BadParameter(
                "a journey comes from events or from an example, not from both", param_hint="--from"
            )
        if folder.exists() and not folder.is_dir():
            raise typer.BadParameter(f"{folder} is no folder", param_hint="DIR")
        bad = BadLines()
        name, text = _example(example or DEFAULT_EXAMPLE) if sample is None else _proposal(sample, bad)
        files = _files(folder, name, text)
        done = _write(files, yes)
        if as_json:
            json_data({"journey": str(files[0].path), **{what: list(map(str, paths)) for what, paths in done.items()}})
        journeys = files[0].path.parent
        note(f"next: stagepost validate {journeys}, stagepost test {journeys}, stagepost graph {files[0].path}")
        if bad.count:
            complain(f"{counted(bad.count, 'line')} skipped")
            leave(PARTLY)


def _example(name: str) -> tuple[str, str]:
    folder = resources.files("stagepost.journey") / "examples"
    known = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
    if name not in known:
        raise typer.BadParameter(f"{name!r} is no example; known are {', '.join(known)}", param_hint="--example")
    return name, (folder / f"{name}.yaml").read_text(encoding="utf-8")


def _proposal(sample: str, bad: BadLines) -> tuple[str, str]:
    from stagepost.journey.proposal import NAME, Sample, propose

    seen = Sample()
    events = read_events(sample, bad, "--from")
    for event, _ in islice(events, SAMPLE):
        seen.add(event)
    if next(events, None) is not None:
        note(f"{sample}: the first {SAMPLE:,} events are the sample")
    return NAME, propose(seen)


def _files(folder: Path, name: str, text: str) -> list[_File]:
    """The journey first."""
    from stagepost.schemas import file_name, text_of

    schema = file_name("journey")
    return [
        _File(folder / "journeys" / f"{name}.yaml", f"# yaml-language-server: $schema=./{schema}\n{text}"),
        _File(folder / "journeys" / schema, text_of("journey")),
        _File(folder / "stagepost.toml", SETTINGS.format(key=secrets.token_hex(32)), replaceable=False, secret=True),
    ]


def _write(files: list[_File], yes: bool) -> dict[str, list[Path]]:
    """Write what may be written; says of every file what was done with it."""
    done: dict[str, list[Path]] = {"written": [], "overwritten": [], "kept": []}
    other = [file for file in files if file.is_there() and not file.is_same()]
    refused = [file for file in other if file.replaceable and not yes and not _may_overwrite(file)]
    if refused and not sys.stdin.isatty():
        names = ", ".join(str(file.path) for file in refused)
        raise Failure(f"{names}: there is one already, with other content; nothing was written. --yes overwrites it")
    for file in files:
        if file.is_there() and (file not in other or file in refused or not file.replaceable):
            done["kept"].append(file.path)
            reason = "its tenant key must not change" if not file.replaceable else "as it was"
            complain(f"kept {file.path}: {reason}")
            continue
        what = "overwritten" if file.is_there() else "written"
        file.write()
        done[what].append(file.path)
        note(f"{'overwrote' if what == 'overwritten' else 'wrote'} {file.path}")
    return done


def _may_overwrite(file: _File) -> bool:
    """Ask whoever sits there; nobody sitting there says no."""
    if not sys.stdin.isatty():
        return False
    try:
        return typer.confirm(f"{file.path} is there, with other content. Overwrite it?", err=True)
    except typer.Abort:  # Ctrl-C, or the end of what was typed
        leave(INTERRUPTED)
