"""``stagepost validate``, ``explain-code``, ``test``, ``simulate``: journeys without Kafka or Redis."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.event_files import BadLines, read_events
from stagepost.cli.journey_files import files_of, journeys_of, parse_files, without_errors
from stagepost.cli.options import Json
from stagepost.cli.output import FAILED, PARTLY, data, json_data, leave, note

if TYPE_CHECKING:
    from stagepost.journey.problems import Problem
    from stagepost.journey.simulate import Funnel
    from stagepost.journey.timeline import TimelineResult

SHOWN_MOVES = 200
"""Moves printed by ``simulate`` for people; ``--json`` prints all."""

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Journey files, or folders of them.")]


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def add_to(app: typer.Typer) -> None:
    @app.command()
    def validate(
        paths: Paths,
        format_: Annotated[Format, typer.Option("--format", help="How problems are printed.")] = Format.TEXT,
        as_json: Json = False,
    ) -> None:
        """Check journey files: every problem with its line, its code and how to mend it.

        Example: stagepost validate journeys/ --format github
        """
        results = parse_files(files_of(paths))
        problems = [problem for parsed in results for problem in parsed.problems]
        _print_problems(problems, Format.JSON if as_json else format_)
        errors = sum(problem.is_error for problem in problems)
        if format_ == Format.TEXT and not as_json:
            warnings = len(problems) - errors
            note(f"{len(results)} checked, {errors} errors, {warnings} warnings")
        if errors:
            leave(FAILED)

    @app.command("explain-code")
    def explain_code(
        code: Annotated[str, typer.Argument(metavar="SPnnn", help="As printed by validate; all: every code.")],
        as_json: Json = False,
    ) -> None:
        """Say what a code of validate means, with an example.

        Example: stagepost explain-code SP302
        """
        from stagepost.journey.problems import CATALOGUE

        codes = list(CATALOGUE.values()) if code == "all" else [CATALOGUE[code]] if code in CATALOGUE else []
        if not codes:
            raise typer.BadParameter(f"{code!r} is no code; known are {', '.join(CATALOGUE)}", param_hint="SPnnn")
        for entry in codes:
            if as_json:
                json_data(
                    {
                        "code": entry.id,
                        "severity": entry.severity,
                        "title": entry.title,
                        "rule": entry.rule,
                        "example": entry.example,
                    }
                )
            else:
                data(f"{entry.id} {entry.severity}: {entry.title}\n  {entry.rule}\n  for example: {entry.example}")

    @app.command()
    def test(
        paths: Paths,
        junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")] = None,
        as_json: Json = False,
    ) -> None:
        """Run the tests inside journey files with the real engine; failures show the timeline that happened.

        Example: stagepost test journeys/ --junit report.xml
        """
        from stagepost.journey.timeline import run_timelines

        parsed = without_errors(parse_files(files_of(paths)))
        results = [(journey.name, result) for journey in journeys_of(parsed) for result in run_timelines(journey)]
        if as_json:
            json_data({"tests": [_test_json(name, result) for name, result in results]})
        else:
            for name, result in results:
                data(f"{'ok  ' if result.passed else 'FAIL'} {name}: {result.test.name}")
                if not result.passed:
                    data(_timeline_diff(result))
        if junit is not None:
            junit.write_text(_junit(results), encoding="utf-8")
        failed = sum(not result.passed for _, result in results)
        note(f"{len(results)} tests, {failed} failed")
        if failed:
            leave(FAILED)

    @app.command()
    def simulate(
        journeys: Annotated[
            list[Path], typer.Argument(metavar="JOURNEY...", help="Journey files, or folders of them.")
        ],
        events: Annotated[
            str, typer.Option("--events", metavar="FILE|-", help="Canonical events, one JSON object a line; .zst too.")
        ],
        until: Annotated[
            str | None, typer.Option("--until", metavar="TIME", help="Let the clock run on to this RFC 3339 time.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Fold events as the worker does and print the transitions: JSON lines, or a funnel and a timeline.

        Example: stagepost simulate journeys/ --events events.ndjson --until 2026-12-01T00:00:00Z --json
        """
        from stagepost.events import encode_json
        from stagepost.journey.compile import compile_program
        from stagepost.journey.simulate import Funnel, Simulation

        end = _time(until)
        definitions = journeys_of(without_errors(parse_files(files_of(journeys))))
        simulation, funnel, bad = Simulation(compile_program(definitions)), Funnel(definitions), BadLines()
        shown: list[str] = []
        out = sys.stdout.buffer
        for move in simulation.run(read_events(events, bad), end):
            if as_json:
                out.write(encode_json(move) + b"\n")
            else:
                funnel.add(move)
                if len(shown) <= SHOWN_MOVES:
                    shown.append(f"{move.at}  {move.contact}  {move.from_ or 'none'} -> {move.to}  ({move.rule})")
        out.flush()
        if not as_json:
            _print_funnel(funnel, [definition.name for definition in definitions], shown)
        if bad.count:
            note(f"{bad.count} lines skipped")
            leave(PARTLY)


def _print_problems(problems: Sequence[Problem], format_: Format) -> None:
    if format_ == Format.SARIF:
        json_data(_sarif(problems))
    elif format_ == Format.JSON:
        json_data({"problems": [_problem_json(problem) for problem in problems]})
    else:
        for problem in problems:
            data(str(problem) if format_ == Format.TEXT else _github(problem))


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.source,
        "line": problem.position.line,
        "column": problem.position.column,
        "code": problem.code.id,
        "severity": problem.code.severity,
        "message": problem.message,
    }


def _github(problem: Problem) -> str:
    """A workflow command; its data must not hold raw line ends or percent signs."""
    message = problem.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    place = f"file={problem.source},line={problem.position.line},col={problem.position.column}"
    return f"::{problem.code.severity} {place},title={problem.code.id}::{message}"


def _sarif(problems: Sequence[Problem]) -> dict[str, object]:
    from stagepost import __version__
    from stagepost.journey.problems import CATALOGUE

    rules = [{"id": code.id, "shortDescription": {"text": code.title}} for code in CATALOGUE.values()]
    results = [
        {
            "ruleId": problem.code.id,
            "level": str(problem.code.severity),
            "message": {"text": problem.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": problem.source},
                        "region": {"startLine": problem.position.line, "startColumn": problem.position.column},
                    }
                }
            ],
        }
        for problem in problems
    ]
    driver = {"name": "stagepost", "version": __version__, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _test_json(journey: str, result: TimelineResult) -> dict[str, object]:
    return {
        "journey": journey,
        "name": result.test.name,
        "passed": result.passed,
        "expected": list(result.expected),
        "actual": list(result.actual),
    }


def _timeline_diff(result: TimelineResult) -> str:
    """Both timelines in one: ``-`` was expected and did not happen, ``+`` happened and was not expected."""
    import difflib

    lines = difflib.ndiff(result.expected, result.actual)
    return "\n".join(f"       {line}" for line in lines if not line.startswith("?"))


def _junit(results: Sequence[tuple[str, TimelineResult]]) -> str:
    failed = sum(not result.passed for _, result in results)
    suite = ET.Element("testsuite", name="stagepost test", tests=str(len(results)), failures=str(failed))
    for journey, result in results:
        case = ET.SubElement(suite, "testcase", classname=journey, name=result.test.name)
        if not result.passed:
            ET.SubElement(case, "failure", message="the timeline differs").text = _timeline_diff(result)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _time(text: str | None) -> int | None:
    from stagepost.events import parse_rfc3339

    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time such as 2026-11-02T09:14:07Z", param_hint="--until") from None


def _print_funnel(funnel: Funnel, journeys: Sequence[str], shown: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for name in journeys:
        table = Table("place", "kind", "now", "reached", title=name, title_justify="left")
        for row in funnel.rows(name):
            table.add_row(row.place, row.kind, str(row.now), str(row.reached))
        console.print(table)
    for line in shown[:SHOWN_MOVES]:
        data(line)
    if len(shown) > SHOWN_MOVES:
        data("... more moves: --json prints all")
