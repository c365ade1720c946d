"""graph: the text, the object, and files that cannot be drawn."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from stagepost.cli.app import build
from stagepost.journey.graph import graph_of, mermaid
from stagepost.journey.parse import parse_journey

TEXT = "journey: j\nstages:\n  - one: contact.subscribed\n  - two: {clicked: any}\n"


def run(*words: str) -> Result:
    return CliRunner().invoke(build(words), words)


def test_graph_prints_mermaid_text(tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(TEXT)
    journey = parse_journey(TEXT, "j").journey
    assert journey is not None
    result = run("graph", str(file))
    assert (0, mermaid(graph_of(journey))) == (result.exit_code, result.stdout)


def test_graph_as_json_has_nodes_arrows_and_the_text(tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text(TEXT)
    shown = json.loads(run("graph", str(file), "--json").stdout)
    assert ["journey", "version", "title", "nodes", "arrows", "mermaid"] == list(shown)
    assert {"kind": "advance", "from": "stage0", "to": "stage1", "label": "clicked any", "timer": False} in shown[
        "arrows"
    ]


def test_a_broken_file_is_not_drawn(tmp_path: Path) -> None:
    file = tmp_path / "j.yaml"
    file.write_text("journey: j\nstages:\n  - one: {clicked: pricng}\n")
    result = run("graph", str(file))
    assert (1, "", True) == (result.exit_code, result.stdout, "SP201" in result.stderr)


def test_a_folder_or_nothing_is_a_usage_error(tmp_path: Path) -> None:
    assert (2, 2) == (run("graph", str(tmp_path)).exit_code, run("graph", str(tmp_path / "no.yaml")).exit_code)
