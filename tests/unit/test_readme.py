"""The README tells the truth where a machine can tell: commands, settings, reasons, journeys, snippets."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from stagepost.cli.app import VERBS
from stagepost.events import Reason
from stagepost.journey.parse import parse_journey
from stagepost.settings import load, meaning

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    """The text under a heading of the second level."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_there_are_exactly_two_set_up_commands() -> None:
    found = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert found == [
        "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/stagepost demo",
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest",
    ]


def test_the_table_of_settings_is_the_tree_with_its_defaults_and_what_they_mean(tmp_path: Path) -> None:
    found = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \|$", section("Settings"), re.MULTILINE)
    rows = {path: default for path, default, _ in found}
    assert {path: told for path, _, told in found} == {path: meaning(path) for path in rows}
    values = {path: value for path, value, _ in load({}, None, {}, tmp_path).values()}
    assert set(rows) == set(values)
    told = {path: text.strip("`") for path, text in rows.items() if path != "identity.tenant_key"}
    assert told == {path: str(value) for path, value in values.items() if path != "identity.tenant_key"}
    assert values["identity.tenant_key"] is None


def test_the_table_of_reasons_is_the_closed_list() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", section("Observability"), re.MULTILINE) == list(Reason)


def test_the_journey_shown_is_the_packaged_example() -> None:
    example = ROOT / "src" / "stagepost" / "journey" / "examples" / "webinar-nurture.yaml"
    (shown,) = blocks("yaml")
    assert shown == example.read_text()
    assert parse_journey(shown, "README").problems == ()


def test_the_snippets_are_python() -> None:
    assert len(blocks("python")) == 2
    for snippet in blocks("python"):
        ast.parse(snippet)


def test_every_verb_named_exists() -> None:
    verbs = {verb for names in VERBS.values() for verb in names}
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    typed = re.findall(r"`stagepost ([a-z-]+)", prose)
    for block in blocks("") + blocks("bash"):
        typed += re.findall(r"(?:^|\| )\$? ?stagepost ([a-z-]+)", block, re.MULTILINE)
    assert len(typed) > 8
    assert set(typed) <= verbs
