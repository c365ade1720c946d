"""init: what lies there afterwards works as it is, and nothing that lay there before is lost unsaid."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stagepost.cli import init
from stagepost.cli.app import build
from stagepost.cli.output import Failure
from stagepost.settings import load_settings

EXAMPLES = sorted(path.stem for path in (Path(init.__file__).parents[1] / "journey" / "examples").glob("*.yaml"))
EVENTS = [
    {"id": "1", "type": "contact.subscribed", "occurred_at": "2026-03-01T10:00:00Z", "contact": "c1"},
    {
        "id": "2",
        "type": "email.clicked",
        "occurred_at": "2026-03-02T10:00:00Z",
        "contact": "c1",
        "url": "https://example.com/pricing/x",
    },
]


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(build(words), words, input=stdin)


def test_what_init_makes_validates_tests_and_loads_as_it_is(tmp_path: Path) -> None:
    assert 0 == run("init", str(tmp_path)).exit_code
    journeys = str(tmp_path / "journeys")
    checked = run("validate", journeys)
    assert (0, "", "1 file checked, 0 errors, 0 warnings\n") == (checked.exit_code, checked.stdout, checked.stderr)
    assert (0, "6 tests, 0 failed\n") == (run("test", journeys).exit_code, run("test", journeys).stderr)
    settings = load_settings({}, None, {}, tmp_path)
    assert (64, Path("journeys")) == (len(settings.tenant_key()), settings.journeys)


def test_every_file_is_named_and_the_schema_is_what_the_first_line_asks_for(tmp_path: Path) -> None:
    result = run("init", str(tmp_path), "--example", "webinar", "--json")
    made = ["journeys/webinar.yaml", "journeys/journey-1.schema.json", "stagepost.toml"]
    paths = [str(tmp_path / name) for name in made]
    assert {"journey": paths[0], "written": paths, "overwritten": [], "kept": []} == json.loads(result.stdout)
    first = Path(paths[0]).read_text().splitlines()[0]
    assert "# yaml-language-server: $schema=./journey-1.schema.json" == first
    assert [] == [path for path in paths if f"wrote {path}\n" not in result.stderr]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_packaged_example_can_be_taken_and_is_named_in_help(name: str, tmp_path: Path) -> None:
    assert 0 == run("init", str(tmp_path), "--example", name).exit_code
    assert 0 == run("test", str(tmp_path / "journeys")).exit_code
    assert name in " ".join(run("init", "--help").stdout.split()).replace("- ", "-")


def test_each_installation_has_a_key_of_its_own_that_only_the_owner_can_read(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        run("init", str(tmp_path / name))
        path = tmp_path / name / "stagepost.toml"
        keys.append(tomllib.loads(path.read_text())["identity"]["tenant_key"])
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 2 == len(set(keys))


def test_a_second_time_everything_is_kept(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    result = run("init", str(tmp_path), "--json")
    assert (0, []) == (result.exit_code, json.loads(result.stdout)["written"])
    assert before == {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert "kept" in result.stderr and "tenant key must not change" in result.stderr


def test_another_file_of_that_name_is_not_overwritten_and_nothing_else_is_written(tmp_path: Path) -> None:
    mine = tmp_path / "journeys" / "first-journey.yaml"
    mine.parent.mkdir()
    mine.write_text("mine")
    result = run("init", str(tmp_path))
    assert isinstance(result.exception, Failure)
    assert f"{mine}: there is one already" in str(result.exception) and "--yes" in str(result.exception)
    assert [mine] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "mine" == mine.read_text()


def test_yes_overwrites_and_says_so_but_never_the_settings(tmp_path: Path) -> None:
    mine, settings = tmp_path / "journeys" / "first-journey.yaml", tmp_path / "stagepost.toml"
    mine.parent.mkdir()
    mine.write_text("mine")
    settings.write_text("prefix = 'x'\n")
    result = run("init", str(tmp_path), "--yes")
    assert (0, "prefix = 'x'\n") == (result.exit_code, settings.read_text())
    assert f"overwrote {mine}\n" in result.stderr
    assert "mine" != mine.read_text()


@pytest.mark.parametrize(("answer", "code", "kept"), [(b"n\n", 0, True), (b"y\n", 0, False), (b"\x04", 130, True)])
def test_whoever_sits_at_a_terminal_is_asked_and_may_break_off(
    answer: bytes, code: int, kept: bool, tmp_path: Path
) -> None:
    mine = tmp_path / "journeys" / "first-journey.yaml"
    mine.parent.mkdir()
    mine.write_text("mine")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stagepost", "init", str(tmp_path)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.write(ours, answer)
        _, told = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (code, True) == (process.returncode, b"Overwrite it?" in told)
    assert kept == (mine.read_text() == "mine")


def test_from_proposes_what_the_events_hold(tmp_path: Path) -> None:
    events = tmp_path / "e.ndjson"
    events.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    assert 0 == run("init", str(tmp_path), "--from", str(events)).exit_code
    journeys = tmp_path / "journeys"
    assert (0, 0) == (run("validate", str(journeys)).exit_code, run("test", str(journeys)).exit_code)
    assert 'pricing: {url: "example.com/pricing/**", means: intent}' in (journeys / "proposed-journey.yaml").read_text()


def test_bad_lines_of_a_sample_are_told_and_counted_in_the_exit_code(tmp_path: Path) -> None:
    result = run("init", str(tmp_path), "--from", "-", stdin=json.dumps(EVENTS[0]) + "\n{cut\n")
    assert (3, True, True) == (
        result.exit_code,
        "line 2: undecodable" in result.stderr,
        (tmp_path / "journeys" / "proposed-journey.yaml").is_file(),
    )


def test_a_sample_is_bounded_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "SAMPLE", 1)
    lines = "".join(json.dumps(event) + "\n" for event in EVENTS)
    result = run("init", str(tmp_path), "--from", "-", stdin=lines)
    assert "the first 1 events are the sample" in result.stderr
    assert "from 1 events" in (tmp_path / "journeys" / "proposed-journey.yaml").read_text()


@pytest.mark.parametrize(
    "words",
    [["--example", "nothing"], ["--from", "-", "--example", "webinar"], ["--from", "/no/such/file"]],
)
def test_wrong_arguments_are_usage_errors_and_write_nothing(words: list[str], tmp_path: Path) -> None:
    assert (2, []) == (run("init", str(tmp_path), *words).exit_code, list(tmp_path.iterdir()))


def test_a_file_in_place_of_the_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert 2 == run("init", str(tmp_path / "file")).exit_code


def test_a_folder_that_cannot_be_written_is_a_failure_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "journeys").write_text("a file where a folder should be")
    failed = run("init", str(tmp_path)).exception
    assert isinstance(failed, Failure)
    assert str(failed).startswith(f"{tmp_path}/journeys/first-journey.yaml: cannot be written: ")
