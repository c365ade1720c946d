"""One trial: the package with one change in it, and whether a test sees it.

The changed package is a copy in a temporary folder: links to all that the change leaves alone, and a copy of the
``journey`` folder. The tests run from the working tree, in a process of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from xml.etree import ElementTree

from tests.mutate.table import Mutation

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "stagepost"
SUITES = (
    "tests/scenarios",
    "tests/unit/journey",
    "tests/properties/test_journey_laws.py",
    "tests/properties/test_switch_laws.py",
)
"""In order of how soon they find a fault."""

LIMIT_S = 240
"""A change may make the engine run for ever: a suite that hangs has seen it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``by``: the test that saw the change, else what came instead of a result."""

    outcome: Literal["killed", "survived", "unclear"]
    by: str


def pieces_found(mutation: Mutation) -> int:
    """How often the piece stands in its file; the table is true when it is once."""
    return (PACKAGE / "journey" / mutation.file).read_text(encoding="utf-8").count(mutation.piece)


def changed_source(mutation: Mutation) -> str:
    """The text of the file with the change in it."""
    source = (PACKAGE / "journey" / mutation.file).read_text(encoding="utf-8")
    return source.replace(mutation.piece, mutation.replacement, 1)


def run_trial(mutation: Mutation | None, suites: tuple[str, ...] = SUITES) -> Verdict:
    """Run the suites until the first failure; None: against the package as it is."""
    with TemporaryDirectory(prefix="stagepost-mutation-") as folder:
        copy = Path(folder) / "stagepost"
        copy.mkdir()
        for part in PACKAGE.iterdir():
            if part.name not in ("journey", "__pycache__"):
                (copy / part.name).symlink_to(part)
        # What was compiled before stays good, but for the changed file: two texts of one size and second look alike.
        stem = mutation.file.removesuffix(".py") if mutation is not None else None
        shutil.copytree(PACKAGE / "journey", copy / "journey", ignore=shutil.ignore_patterns(f"{stem}.*.pyc"))
        if mutation is not None:
            (copy / "journey" / mutation.file).write_text(changed_source(mutation), encoding="utf-8")
        return _run(Path(folder), suites)


def _run(folder: Path, suites: tuple[str, ...]) -> Verdict:
    report = folder / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--tb=no",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:anyio",
    ]
    command += ["--hypothesis-profile=few", f"--junitxml={report}", *suites]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Verdict("killed", f"no end after {LIMIT_S} s")
    if process.returncode == 0:
        return Verdict("survived", "")
    failed = _failed(report) if process.returncode == 1 else None
    return Verdict("killed", failed) if failed else Verdict("unclear", output[-2_000:])


def _failed(report: Path) -> str | None:
    """Name of the test that failed; None for a file that could not even be imported."""
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("failure") is not None:
            return f"{case.get('classname')}.{case.get('name')}"
    return None
