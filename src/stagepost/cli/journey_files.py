"""Finding and reading journey files for the verbs: paths on the command line to parsed journeys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from stagepost.cli.options import load_from
from stagepost.cli.output import FAILED, complain, leave

if TYPE_CHECKING:
    from stagepost.journey.definition import Journey
    from stagepost.journey.parse import Parsed


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Files as named, and the ``*.yaml`` and ``*.yml`` of folders. A path that is not there is a usage error."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise typer.BadParameter(f"{path}: no such file or folder")
    if not found:
        raise typer.BadParameter(f"{', '.join(map(str, paths))}: no *.yaml file there")
    return list(dict.fromkeys(found))


def files_or_settings(paths: Sequence[Path] | None) -> list[Path]:
    """``files_of``; without a path, of the setting ``journeys``: the folder that ``init`` fills and roles read."""
    if paths:
        return files_of(paths)
    try:
        return files_of([load_from(None).settings.journeys])
    except typer.BadParameter as error:
        told = f"{error.message} (setting journeys); name a PATH, or make a first journey with: stagepost init"
        raise typer.BadParameter(told) from None


def parse_files(files: Sequence[Path]) -> list[Parsed]:
    """One result for each file; two files that define the same journey are a problem of the second."""
    from stagepost.journey import problems as p
    from stagepost.journey.definition import Position
    from stagepost.journey.parse import Parsed, parse_bytes

    results: list[Parsed] = []
    seen: dict[str, Path] = {}
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            told = f"cannot be read: {error.strerror or error}"
            results.append(Parsed(None, (p.Problem(str(file), Position(1, 1), p.NOT_YAML, told),)))
            continue
        parsed = parse_bytes(content, str(file))
        if parsed.journey is not None:
            name = parsed.journey.name
            if name in seen:
                told = f"journey {name!r} is defined in {seen[name]} already"
                problem = p.Problem(str(file), Position(1, 1), p.DUPLICATE_NAME, told)
                parsed = Parsed(None, (*parsed.problems, problem))
            seen.setdefault(name, file)
        results.append(parsed)
    return results


def journeys_of(results: Iterable[Parsed]) -> list[Journey]:
    """The journeys that could be read."""
    return [parsed.journey for parsed in results if parsed.journey is not None]


def without_errors(results: list[Parsed]) -> list[Parsed]:
    """Print what validate would say of broken files and end with code 1; warnings stop nothing."""
    problems = [problem for parsed in results for problem in parsed.problems]
    for problem in problems:
        complain(str(problem))
    if any(problem.is_error for problem in problems):
        leave(FAILED)
    return results
