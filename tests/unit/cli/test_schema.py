"""schema: what is printed, written and compared."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from stagepost.cli.app import build
from stagepost.schemas import NAMES, file_name, schema_of, text_of


def run(*words: str) -> Result:
    return CliRunner().invoke(build(words), words)


def test_a_name_prints_its_schema() -> None:
    assert (0, text_of("transition")) == (run("schema", "transition").exit_code, run("schema", "transition").stdout)
    assert schema_of("alert") == json.loads(run("schema", "alert", "--json").stdout)


def test_without_a_name_the_names_are_listed() -> None:
    assert list(NAMES) == [line.split()[0] for line in run("schema").stdout.splitlines()]
    assert {name: file_name(name) for name in NAMES} == json.loads(run("schema", "--json").stdout)["schemas"]


def test_an_unknown_name_is_a_usage_error() -> None:
    result = run("schema", "transitions")
    assert (2, True) == (result.exit_code, "known are journey, event" in " ".join(result.stderr.split()))


def test_out_writes_all_or_the_one_that_is_named(tmp_path: Path) -> None:
    assert 0 == run("schema", "--out", str(tmp_path / "all")).exit_code
    assert sorted(file_name(name) for name in NAMES) == sorted(path.name for path in (tmp_path / "all").iterdir())
    result = run("schema", "event", "--out", str(tmp_path / "one"), "--json")
    assert {"written": [str(tmp_path / "one" / "event-1.schema.json")]} == json.loads(result.stdout)
    assert text_of("event") == (tmp_path / "one" / "event-1.schema.json").read_text(encoding="utf-8")


def test_check_passes_on_what_is_packaged_and_on_what_out_wrote(tmp_path: Path) -> None:
    run("schema", "--out", str(tmp_path))
    assert (0, 0) == (run("schema", "--check").exit_code, run("schema", "--check", "--out", str(tmp_path)).exit_code)


def test_check_says_what_is_not_compatible_and_exits_with_one(tmp_path: Path) -> None:
    run("schema", "--out", str(tmp_path))
    path = tmp_path / file_name("transition")
    old = json.loads(path.read_text())
    old["properties"]["mood"] = {"type": "string"}
    old["required"].append("mood")
    path.write_text(json.dumps(old))
    result = run("schema", "transition", "--check", "--out", str(tmp_path))
    assert (1, "transition  incompatible\n  /mood: is required, for readers\n  /mood: is gone\n") == (
        result.exit_code,
        result.stdout,
    )
    shown = json.loads(run("schema", "--check", "--out", str(tmp_path), "--json").stdout)
    assert (False, "incompatible", "equal") == (
        shown["compatible"],
        shown["schemas"]["transition"]["state"],
        shown["schemas"]["event"]["state"],
    )


def test_a_compatible_difference_passes_and_is_named(tmp_path: Path) -> None:
    run("schema", "--out", str(tmp_path))
    path = tmp_path / file_name("journey")
    old = json.loads(path.read_text())
    del old["properties"]["labels"]
    path.write_text(json.dumps(old))
    result = run("schema", "journey", "--check", "--out", str(tmp_path))
    assert (0, "journey     compatible\n") == (result.exit_code, result.stdout)


def test_a_missing_folder_a_missing_file_and_no_json_are_told(tmp_path: Path) -> None:
    assert 2 == run("schema", "--check", "--out", str(tmp_path / "none")).exit_code
    result = run("schema", "event", "--check", "--out", str(tmp_path))
    assert (1, "event       missing\n") == (result.exit_code, result.stdout)
    (tmp_path / file_name("event")).write_text("{")
    assert "cannot be read as JSON" in str(run("schema", "event", "--check", "--out", str(tmp_path)).exception)


def test_an_asyncapi_document_is_compared_by_its_topics(tmp_path: Path) -> None:
    run("schema", "asyncapi", "--out", str(tmp_path))
    assert 0 == run("schema", "asyncapi", "--check", "--out", str(tmp_path)).exit_code
    path = tmp_path / "asyncapi.json"
    path.write_text(path.read_text().replace("journey_transitions", "journey_moves"))
    result = run("schema", "asyncapi", "--check", "--out", str(tmp_path))
    assert (1, "asyncapi    incompatible") == (result.exit_code, result.stdout.splitlines()[0])
    assert "  /channels/journey_moves: is gone" in result.stdout.splitlines()
