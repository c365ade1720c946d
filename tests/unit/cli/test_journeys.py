"""validate, explain-code, test: output, exit codes, formats."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stagepost.cli.app import build
from stagepost.cli.output import Failure

GOOD = "journey: j\nstages:\n  - one: contact.subscribed\n  - two: {clicked: any}\n"
BROKEN = "journey: b\nstages:\n  - one: {clicked: pricng}\n"
WARNED = "journey: w\nstages:\n  - one: {opened: any}\n"


def run(*words: str) -> Result:
    return CliRunner().invoke(build(words), words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


def test_validate_prints_file_line_column_code_and_the_fix(folder: Path) -> None:
    (folder / "broken.yml").write_text(BROKEN)
    result = run("validate", str(folder))
    assert result.exit_code == 1
    assert result.stdout == f"{folder}/broken.yml:3:20: SP201 'pricng' is no link\n"
    assert "2 files checked, 1 error, 0 warnings" in result.stderr


def test_of_files_that_are_no_journeys_validate_says_so(folder: Path) -> None:
    (folder / "compose.yml").write_text("services: {}\n")
    (folder / "broken.yml").write_text(BROKEN)
    result = run("validate", str(folder))
    assert (result.exit_code, f"{folder}/compose.yml:1:1: SP101" in result.stdout) == (1, True)
    assert result.stderr.splitlines()[0].startswith(f"{folder}/compose.yml is no journey, which begins with journey:")


def test_warnings_do_not_fail_validate(folder: Path) -> None:
    (folder / "w.yaml").write_text(WARNED)
    result = run("validate", str(folder / "w.yaml"))
    assert (result.exit_code, "SP604" in result.stdout) == (0, True)


def test_validate_speaks_json_github_and_sarif(folder: Path) -> None:
    (folder / "b.yaml").write_text(BROKEN)
    path = str(folder / "b.yaml")
    (problem,) = json.loads(run("validate", path, "--json").stdout)["problems"]
    assert (problem["line"], problem["column"], problem["code"], problem["severity"]) == (3, 20, "SP201", "error")
    assert run("validate", path, "--format", "github").stdout.startswith(
        f"::error file={path},line=3,col=20,title=SP201::"
    )
    sarif = json.loads(run("validate", path, "--format", "sarif").stdout)
    (found,) = sarif["runs"][0]["results"]
    assert (found["ruleId"], found["locations"][0]["physicalLocation"]["region"]["startLine"]) == ("SP201", 3)


def test_state_size_prints_the_bound_of_one_contact_by_part(folder: Path) -> None:
    result = run("validate", str(folder), "--state-size")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert 0 == result.exit_code
    assert ["state", "of", "one", "contact,", "at", "most,", "bytes", "longest", "texts", "texts", "of", "40"] == lines[
        0
    ]
    assert ["total", "journey", "dedup", "sends", "register", "consent", "clicks", "rest"] == [
        words[0] for words in lines[1:]
    ]
    sizes = json.loads(run("validate", str(folder), "--state-size", "--json").stdout)["state_size"]
    assert ["longest_texts", "texts_of_40_bytes"] == list(sizes)
    for parts in sizes.values():
        assert parts["total"] == sum(size for part, size in parts.items() if part != "total")
    assert f"{sizes['longest_texts']['total']:,}" == lines[1][1]


def test_state_size_of_a_broken_file_is_not_known(folder: Path) -> None:
    (folder / "b.yaml").write_text(BROKEN)
    shown = json.loads(run("validate", str(folder), "--state-size", "--json").stdout)
    assert (None, 1) == (shown["state_size"], len(shown["problems"]))
    assert "bytes" not in run("validate", str(folder), "--state-size").stdout
    assert 2 == run("validate", str(folder), "--state-size", "--format", "sarif").exit_code


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert run("validate", str(tmp_path / "none.yaml")).exit_code == 2
    assert run("validate", str(tmp_path)).exit_code == 2


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_without_a_path_it_is_the_folder_of_the_settings_and_where_nothing_is_it_says_how_to_begin(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = run(verb)
    assert (2, True) == (nothing.exit_code, "journeys: no such file or folder (setting journeys)" in nothing.stderr)
    assert nothing.stderr.rstrip().endswith("make a first journey with: stagepost init")
    assert 0 == run("init").exit_code
    found = run(verb)
    assert (0, True) == (found.exit_code, found.stderr.startswith(("1 file checked, 0 errors", "6 tests, 0 failed")))
    monkeypatch.setenv("STAGEPOST_JOURNEYS", "elsewhere")
    assert "elsewhere: no such" in run(verb).stderr


def test_two_files_cannot_define_the_same_journey(folder: Path) -> None:
    (folder / "other.yaml").write_text(GOOD)
    result = run("validate", str(folder))
    assert (result.exit_code, "SP106" in result.stdout) == (1, True)


def test_a_file_that_is_no_text_is_a_problem_not_a_crash(folder: Path) -> None:
    (folder / "bytes.yaml").write_bytes("journey: j\ntitle: é".encode() + b"\xff\n")
    result = run("validate", str(folder))
    assert (1, f"{folder}/bytes.yaml:2:9: SP001 byte 0xff is no UTF-8 text: invalid start byte\n") == (
        result.exit_code,
        result.stdout,
    )


def test_explain_code_says_rule_and_example() -> None:
    assert run("explain-code", "SP302").stdout.startswith("SP302 error: setback without a way out\n")
    assert json.loads(run("explain-code", "SP604", "--json").stdout)["severity"] == "warning"
    assert run("explain-code", "sp302").stdout == run("explain-code", "SP302").stdout
    assert run("explain-code", "SP999").exit_code == 2


TESTS = GOOD + "tests:\n  - name: passes\n    events: [0d contact.subscribed]\n    expect: [0d none -> one]\n"


def test_test_runs_what_is_in_the_file_and_shows_the_difference(folder: Path) -> None:
    path = folder / "t.yaml"
    path.write_text(TESTS + "  - name: fails\n    events: [0d contact.subscribed]\n    expect: [0d none -> two]\n")
    junit = folder / "report.xml"
    result = run("test", str(path), "--junit", str(junit))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "ok   j: passes",
        f"FAIL j: fails ({path}:11)",
        "       - 0d none -> two",
        "       + 0d none -> one",
        "       at that time was missing for",
        "         two  (stages.two, line 4)",
        "           clicked any: not yet",
    ]
    suite = ET.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    passed, failed = suite.iter("testcase")
    assert ((str(path), "6"), (str(path), "11")) == tuple(
        (case.get("file"), case.get("line")) for case in (passed, failed)
    )
    assert [f"{path}:11: the timeline differs"] == [failure.get("message") for failure in failed]


REASONS = """journey: j
stages:
  - reader: contact.subscribed
  - buyer: {event: order.completed, where: {total: {gt: 50}}}
tests:
  - name: too little
    events: [0d contact.subscribed, 1d order.completed total=50]
    expect: [0d none -> reader, 1d reader -> buyer]
  - name: late
    events: [0d contact.subscribed, 9d page.seen, 1d order.completed total=60]
    expect: [0d none -> reader, 1d reader -> buyer]
  - name: never stalls
    events: [0d contact.subscribed]
    expect: [0d none -> reader, 3d stall reader]
"""


def test_a_failing_test_says_why_the_first_move_that_is_missing_did_not_come(folder: Path) -> None:
    (folder / "good.yaml").write_text(REASONS)
    shown = run("test", str(folder / "good.yaml")).stdout.splitlines()
    little, late, stall = (number for number, line in enumerate(shown) if line.startswith("FAIL"))
    assert shown[little + 3 : late] == [
        "       at that time was missing for",
        "         buyer  (stages.buyer, line 4)",
        "           order.completed where total > 50: not yet",
        "             nearest: 2026-01-06T00:00:00.000Z  order.completed: total is 50, asked for is total > 50",
    ]
    assert "so far such events came late" in shown[stall - 1]
    assert shown[stall + 1 :] == ["         0d none -> reader", "       - 3d stall reader"]


def test_test_passes_with_exit_code_0_and_says_so_in_json(folder: Path) -> None:
    (folder / "good.yaml").write_text(TESTS)
    result = run("test", str(folder), "--json")
    assert result.exit_code == 0
    assert [t["passed"] for t in json.loads(result.stdout)["tests"]] == [True]


def test_what_xml_cannot_hold_is_replaced_in_the_report(folder: Path) -> None:
    (folder / "good.yaml").write_text(TESTS.replace("name: passes", 'name: "a\\x01 <b> & c"'))
    junit = folder / "report.xml"
    assert 0 == run("test", str(folder), "--junit", str(junit)).exit_code
    assert ["a? <b> & c"] == [case.get("name") for case in ET.parse(junit).getroot()]


def test_a_report_that_cannot_be_written_is_a_failure_that_names_it(folder: Path) -> None:
    (folder / "good.yaml").write_text(TESTS)
    failed = run("test", str(folder), "--junit", str(folder / "none" / "report.xml")).exception
    assert isinstance(failed, Failure)
    assert "report.xml: cannot be written" in str(failed)


def test_a_workflow_command_escapes_what_would_end_its_parts(folder: Path) -> None:
    path = folder / "a,b:c%.yaml"
    path.write_text(BROKEN.replace("pricng", '"50%"'))
    shown = run("validate", str(path), "--format", "github").stdout
    assert f"::error file={folder}/a%2Cb%3Ac%25.yaml,line=3,col=20,title=SP201::'50%25' is no link\n" == shown


def test_explain_code_shows_a_file_that_validate_answers_with_the_code(folder: Path) -> None:
    for entry in map(json.loads, run("explain-code", "all", "--json").stdout.splitlines()):
        (folder / "x.yaml").write_text(entry["broken"])
        problems = json.loads(run("validate", str(folder / "x.yaml"), "--json").stdout)["problems"]
        assert [(entry["code"], entry["severity"])] == [(found["code"], found["severity"]) for found in problems]
        assert entry["broken"].splitlines()[0] in run("explain-code", entry["code"]).stdout
