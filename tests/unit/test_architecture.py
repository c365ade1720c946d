"""The import contracts and the banned calls are seen to bite: each fault is planted once, in a copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FAULTS = {
    "journey/result.py": ("import time", "stagepost.journey is not allowed to import time"),
    "engine/plan.py": ("import stagepost.edges", "stagepost.engine is not allowed to import stagepost.edges"),
    "alerts/__init__.py": ("import stagepost.rollup", "stagepost.alerts is not allowed to import stagepost.rollup"),
    "helpers.py": ("", "- stagepost.helpers"),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(tool: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_planted_imports_and_an_unlisted_module_break_the_contracts(copy: Path) -> None:
    for name, (line, _) in FAULTS.items():
        with (copy / "src" / "stagepost" / name).open("a") as file:
            file.write(f"\n{line}\n")
    result = run("lint-imports", "--no-cache", folder=copy)
    assert 1 == result.returncode
    assert [] == [message for _, message in FAULTS.values() if message not in result.stdout]


def test_a_clock_in_the_core_is_refused_and_at_the_edges_allowed(copy: Path) -> None:
    code = "import datetime\n\nx = datetime.datetime.now(datetime.UTC)\n"
    for package in ("journey", "edges"):
        (copy / "src" / "stagepost" / package / "planted.py").write_text(code)
    result = run("ruff", "check", "--no-cache", "--select", "TID251", "--output-format", "concise", ".", folder=copy)
    assert [
        "src/stagepost/journey/planted.py:3:5: TID251 `datetime.datetime.now` is banned: take the time as an argument"
    ] == [line for line in result.stdout.splitlines() if "TID251" in line]
