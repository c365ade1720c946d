"""plan: differences, who would move, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stagepost.cli.app import build
from stagepost.cli.output import Failure

OLD = """journey: path
stages:
  - joined: contact.subscribed
  - reader: {clicked: any}
  - buyer: order.completed
"""
NEW = OLD.replace("  - reader: {clicked: any}\n", "").replace("buyer: order.completed", "buyer: {event: order.paid}")
SECOND = "journey: second\nstages: [{seen: {clicked: any}}]\n"
NOWHERE = ("--redis", "redis://localhost:1/0")


def event(number: int, contact: str, type_: str) -> str:
    at = f"2026-03-01T10:{number:02}:00Z"
    return json.dumps({"id": f"e{number}", "type": type_, "occurred_at": at, "contact": contact, "machine": False})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "path.yaml").write_text(OLD)
    (tmp_path / "both" / "second.yaml").write_text(SECOND)
    lines = [event(n, c, "contact.subscribed") for n, c in enumerate("abc")]
    lines += [event(n, c, "email.clicked") for n, c in enumerate("bc", start=10)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(folder: Path, *words: str, stdin: str | None = None) -> Result:
    words = ("plan", *(str(folder / word) if word.endswith((".yaml", ".ndjson", "both")) else word for word in words))
    return CliRunner().invoke(build(words), words, input=stdin)


def test_what_changes_and_who_moves_is_said_and_ends_with_2(folder: Path) -> None:
    result = run(folder, "new.yaml", "--events", "events.ndjson", "--against", "old.yaml")
    assert (result.exit_code, result.stdout) == (
        2,
        "~ path stages.buyer: order.completed (line 5) -> order.paid (line 4)\n"
        "- path stages.reader: clicked any (line 4)\n"
        "        2  path: reader -> joined\n"
        "2 moves of 3 contacts\n",
    )


def test_json_says_the_same_in_one_object(folder: Path) -> None:
    result = run(folder, "new.yaml", "--events", "events.ndjson", "--against", "old.yaml", "--json")
    found = json.loads(result.stdout)
    assert found["moves"] == [{"journey": "path", "from": "reader", "to": "joined", "contacts": 2}]
    assert [(c["rule"], c["change"], c["line_before"], c["line_after"]) for c in found["changes"]] == [
        ("stages.buyer", "changed", 5, 4),
        ("stages.reader", "removed", 4, None),
    ]
    assert (found["contacts"], result.exit_code) == (3, 2)


def test_no_difference_ends_with_0(folder: Path) -> None:
    result = run(folder, "old.yaml", "--events", "events.ndjson", "--against", "old.yaml")
    assert (result.exit_code, result.stdout) == (0, "no rule changes\n0 moves of 3 contacts\n")


def test_a_journey_beside_the_named_file_stays_and_beside_a_folder_goes(folder: Path) -> None:
    one = run(folder, "old.yaml", "--events", "events.ndjson", "--against", "both")
    assert one.exit_code == 0
    (folder / "both" / "second.yaml").unlink()
    (folder / "second.yaml").write_text(SECOND)
    words = ("--against", "old.yaml", "--against", "second.yaml")
    whole = run(folder, "both", "--events", "events.ndjson", *words, "--json")
    assert [(c["journey"], c["change"]) for c in json.loads(whole.stdout)["changes"]] == [("second", "removed")]


def test_without_running_definitions_an_event_file_shows_where_everybody_would_be(folder: Path) -> None:
    result = run(folder, "old.yaml", "--events", "events.ndjson", "--json", *NOWHERE)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["moves"] == [
        {"journey": "path", "from": None, "to": "reader", "contacts": 2},
        {"journey": "path", "from": None, "to": "joined", "contacts": 1},
    ]
    assert "no running definitions" in result.stderr


def test_where_no_contact_was_looked_at_it_says_why(folder: Path) -> None:
    result = run(folder, "old.yaml", "--events", "-", "--against", "old.yaml", stdin="")
    assert (result.exit_code, "no contact was looked at: the events make none" in result.stderr) == (0, True)


def test_bad_lines_are_told_and_skipped(folder: Path) -> None:
    result = run(
        folder, "old.yaml", "--events", "-", "--against", "old.yaml", stdin="{\n" + event(1, "a", "a.b") + "\n"
    )
    assert (result.exit_code, "1 line skipped" in result.stderr) == (0, True)


def test_errors_end_with_1(folder: Path) -> None:
    (folder / "broken.yaml").write_text("journey: x\n")
    assert run(folder, "broken.yaml", "--events", "events.ndjson").exit_code == 1
    without = CliRunner().invoke(build(["plan"]), ["plan", str(folder / "new.yaml"), *NOWHERE])
    assert isinstance(without.exception, Failure)
    assert "does not answer" in str(without.exception)
    assert "(setting redis.url, --redis)" in str(without.exception)


@pytest.mark.parametrize(
    "words", [(), ("none.yaml",), ("--nonsense", "new.yaml"), ("new.yaml", "--against", "old.yaml")]
)
def test_wrong_usage_ends_with_64(folder: Path, words: tuple[str, ...]) -> None:
    assert run(folder, *words).exit_code == 64


def test_wrong_settings_end_with_64(folder: Path) -> None:
    (folder / "stagepost.toml").write_text("nonsense = 1\n")
    words = ["plan", str(folder / "new.yaml"), "--config", str(folder / "stagepost.toml")]
    assert CliRunner().invoke(build(words), words).exit_code == 64
