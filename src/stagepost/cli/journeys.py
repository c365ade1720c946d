"""``stagepost validate``, ``explain-code``, ``test``: journey files by themselves."""

from __future__ import annotations

import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from stagepost.cli.journey_files import files_or_settings, journeys_of, parse_files, without_errors
from stagepost.cli.options import Json
from stagepost.cli.output import FAILED, Failure, data, json_data, leave, note
from stagepost.wording import counted

if TYPE_CHECKING:
    from stagepost.journey.definition import Journey
    from stagepost.journey.parse import Parsed
    from stagepost.journey.problems import Problem
    from stagepost.journey.timeline import TimelineResult

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Journey files, or folders of them. Default: the setting journeys."),
]


_KEYS = re.compile(r"^(journey|stages)\s*:", re.MULTILINE)
_LOOKED_AT = 100_000
"""Characters of a file that are searched for the words of a journey: more than any journey has."""


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def add_to(app: typer.Typer) -> None:
    @app.command()
    def validate(
        paths: Paths = None,
        format_: Annotated[Format, typer.Option("--format", help="How problems are printed.")] = Format.TEXT,
        state_size: Annotated[
            bool,
            typer.Option("--state-size", help="Say how large the state of one contact can become in these journeys."),
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Check journey files.

        Every problem with its line, its code and how to mend it.

        Example: stagepost validate journeys --format github
        """
        format_ = Format.JSON if as_json else format_
        if state_size and format_ not in (Format.TEXT, Format.JSON):
            raise typer.BadParameter(f"{format_} has no place for it", param_hint="--state-size")
        files = files_or_settings(paths)
        results = parse_files(files)
        problems = [problem for parsed in results for problem in parsed.problems]
        errors = sum(problem.is_error for problem in problems)
        sizes = _state_sizes(journeys_of(results)) if state_size and not errors else None
        if format_ == Format.JSON:
            json_data(
                {"problems": [_problem_json(problem) for problem in problems]}
                | ({"state_size": sizes} if state_size else {})
            )
        else:
            _print_problems(problems, format_)
        if format_ == Format.TEXT:
            if sizes is not None:
                _print_sizes(sizes)
            warnings = len(problems) - errors
            for hint in _no_journeys(results, files):
                note(hint)
            note(f"{counted(len(results), 'file')} checked, {counted(errors, 'error')}, {counted(warnings, 'warning')}")
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

        named = code.upper()
        codes = list(CATALOGUE.values()) if named == "ALL" else [CATALOGUE[named]] if named in CATALOGUE else []
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
                        "broken": entry.broken,
                    }
                )
            else:
                broken = textwrap.indent(entry.broken.rstrip("\n"), "    ")
                data(f"{entry.id} {entry.severity}: {entry.title}\n  {entry.rule}\n  a file that has it:\n{broken}")
                data(f"  to mend it, for example: {entry.example}")

    @app.command()
    def test(
        paths: Paths = None,
        junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")] = None,
        as_json: Json = False,
    ) -> None:
        """Run the tests inside journey files.

        With the real engine; failures show the timeline that happened.

        A line of events is OFFSET EVENT [key=value ...]: "1d sent CAMPAIGN" (sent and delivered), "clicked URL
        [campaign=C]", "opened C", "unsubscribed [all | scope:id]", "resubscribed [...]", "complained C", "bounced
        hard|soft C", or any activity as "order.completed total=10". Events are human unless machine=true|unknown. A
        line of expect is "OFFSET from -> to" or "OFFSET stall STAGE", in order and complete.

        Example: stagepost test journeys --junit report.xml
        """
        from stagepost.cli.explain import stayed_lines
        from stagepost.journey.timeline import run_timelines, why_not

        parsed = without_errors(parse_files(files_or_settings(paths)))
        results = [(journey, result) for journey in journeys_of(parsed) for result in run_timelines(journey)]
        if as_json:
            json_data({"tests": [_test_json(journey, result) for journey, result in results]})
        else:
            for journey, result in results:
                if result.passed:
                    data(f"ok   {journey.name}: {result.test.name}")
                else:
                    data(f"FAIL {journey.name}: {result.test.name} ({_place(journey, result)})")
                    data(_timeline_diff(result))
                    if (stayed := why_not(journey, result)) is not None:
                        data("       at that time was missing for\n" + "\n".join(stayed_lines(stayed, " " * 9)))
        if junit is not None:
            try:
                junit.write_text(_junit(results), encoding="utf-8")
            except OSError as error:
                raise Failure(f"{junit}: cannot be written: {error.strerror}") from error
        failed = sum(not result.passed for _, result in results)
        note(f"{counted(len(results), 'test')}, {failed} failed")
        if failed:
            leave(FAILED)


def _no_journeys(results: Sequence[Parsed], files: Sequence[Path]) -> Iterator[str]:
    """A hint for files that are YAML, but no journeys: mostly the folder was not the one of journeys."""
    strangers = [
        str(file)
        for file, parsed in zip(files, results, strict=True)
        if parsed.journey is None and parsed.problems and not _KEYS.search(_begin_of(file))
    ]
    if strangers:
        verb = "is" if len(strangers) == 1 else "are"
        yield (
            f"{', '.join(strangers)} {verb} no journey, which begins with journey: and has stages:. A folder of "
            "journeys holds nothing else; make one with: stagepost init journeys"
        )


def _begin_of(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            return text.read(_LOOKED_AT)
    except OSError:
        return ""


def _print_problems(problems: Sequence[Problem], format_: Format) -> None:
    if format_ == Format.SARIF:
        json_data(_sarif(problems))
    else:
        for problem in problems:
            data(str(problem) if format_ == Format.TEXT else _github(problem))


SHORT_TEXTS = 40
"""Bytes of a text in the second figure of --state-size: ids and names as providers and people make them."""


def _state_sizes(journeys: Sequence[Journey]) -> dict[str, dict[str, int]]:
    """The bound of one contact's state in bytes by part, with texts as long as may be, and with short ones."""
    from stagepost.journey.compile import compile_program
    from stagepost.journey.size import bound

    program = compile_program(journeys)
    sizes = {}
    for name, of_texts in (("longest_texts", None), (f"texts_of_{SHORT_TEXTS}_bytes", SHORT_TEXTS)):
        known = bound(program, of_texts)
        parts = {f"journey {journey}": size for journey, size in known.journeys.items()}
        for part in ("dedup", "sends", "register", "consent", "clicks", "rest"):
            parts[part] = getattr(known, part)
        sizes[name] = {"total": known.total, **parts}
    return sizes


def _print_sizes(sizes: dict[str, dict[str, int]]) -> None:
    longest, short = sizes.values()
    data(f"state of one contact, at most, bytes{'longest texts':>16}{f'texts of {SHORT_TEXTS}':>14}")
    for part in longest:
        data(f"  {part:<33}{longest[part]:>16,}{short[part]:>14,}")


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
    """A workflow command; neither its data nor its properties may hold what separates them."""
    place = f"file={_escaped(problem.source, ':,')},line={problem.position.line},col={problem.position.column}"
    return f"::{problem.code.severity} {place},title={problem.code.id}::{_escaped(problem.message, '')}"


def _escaped(text: str, also: str) -> str:
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" or char in also else char for char in text)


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
                        "artifactLocation": {"uri": quote(problem.source)},
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


def _place(journey: Journey, result: TimelineResult) -> str:
    return f"{journey.source}:{result.position.line}"


def _test_json(journey: Journey, result: TimelineResult) -> dict[str, object]:
    return {
        "journey": journey.name,
        "name": result.test.name,
        "file": journey.source,
        "line": result.position.line,
        "passed": result.passed,
        "expected": list(result.expected),
        "actual": list(result.actual),
    }


def _timeline_diff(result: TimelineResult) -> str:
    """Both timelines in one: ``-`` was expected and did not happen, ``+`` happened and was not expected."""
    import difflib

    lines = difflib.ndiff(result.expected, result.actual)
    return "\n".join(f"       {line}" for line in lines if not line.startswith("?"))


def _junit(results: Sequence[tuple[Journey, TimelineResult]]) -> str:
    failed = sum(not result.passed for _, result in results)
    suite = ET.Element("testsuite", name="stagepost test", tests=str(len(results)), failures=str(failed))
    for journey, result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=journey.name,
            name=_xml(result.test.name),
            file=_xml(journey.source),
            line=str(result.position.line),
        )
        if not result.passed:
            message = _xml(f"{_place(journey, result)}: the timeline differs")
            ET.SubElement(case, "failure", message=message).text = _xml(_timeline_diff(result))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)
