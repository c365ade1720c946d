"""Where each peer runs: an environment of its own in the user's cache folder, made once and kept.

What cannot be had is no error: the peer is left out, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagepost.edges.local_kafka import KAFKA_VERSION, cache_folder, jars, java
from stagepost.edges.local_servers import LocalServerError

_HERE = Path(__file__).parent
_PACKAGE = Path("stagepost", "bench", "peers")
_INSTALL_S = 300


class Unavailable(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """One tool beside ours. ``share``: which part of the events is enough for it, as only CPU per event counts."""

    name: str
    title: str
    share: float
    command: Callable[[Path], Sequence[str]]
    """The program without its arguments, which may put files into the folder. Raises Unavailable."""


def python_peer(module: str, requirements: Sequence[str]) -> Callable[[Path], Sequence[str]]:
    """Runs a program of this folder with only ``requirements`` installed; without any, in our own environment."""

    def command(folder: Path) -> Sequence[str]:
        if not requirements:
            return (sys.executable, "-m", f"stagepost.bench.peers.{module}")
        python = _environment(requirements)
        # A package of just these two files: a path to the whole of ours could bring in what else is installed there.
        package = folder / _PACKAGE
        package.mkdir(parents=True, exist_ok=True)
        for each in (module, "rule"):
            shutil.copy(_HERE / f"{each}.py", package)
        for parent in (package, *package.relative_to(folder).parents[:-1]):
            (folder / parent / "__init__.py").touch()
        start = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = {module!r}; import runpy; "
        return (
            str(python),
            "-I",
            "-c",
            f"{start}runpy.run_module('stagepost.bench.peers.{module}', run_name='__main__')",
        )

    return command


def java_peer(folder: Path) -> Sequence[str]:
    """Kafka Streams: its jars from Maven Central, our one file compiled by the JDK on PATH."""
    compiler = shutil.which("javac")
    if compiler is None:
        raise Unavailable("no javac on PATH: it takes a JDK, 17 or later")
    try:
        found = jars(f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}")
        runtime = shutil.which("java") or str(java())
    except LocalServerError as error:
        raise Unavailable(str(error)) from error
    path = os.pathsep.join(map(str, found))
    compiled = subprocess.run(
        [compiler, "-cp", path, "-d", str(folder), str(_HERE / "kafka_streams" / "Job.java")],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        raise Unavailable(f"javac: {compiled.stderr.strip()[-500:]}")
    return (runtime, "-Xmx1g", f"-Djava.io.tmpdir={folder}", "-cp", f"{path}:{folder}", "Job")


PEERS = (
    Peer("kafka-streams", f"Kafka Streams {KAFKA_VERSION} in memory, exactly_once_v2, commit 100 ms", 1.0, java_peer),
    Peer(
        "quix",
        "Quix Streams 3.28.1, exactly-once",
        0.5,
        python_peer("quix_streams", ["quixstreams==3.28.1", "msgspec"]),
    ),
    Peer(
        "faust",
        "Faust 0.15.3 tables, exactly_once",
        0.05,
        # Beside Faust, what its client needs to read lz4.
        python_peer("faust_tables", ["faust-streaming==0.15.3", "aiokafka[lz4]", "msgspec"]),
    ),
    Peer("redis-per-event", "poll + redis-py per event, at least once", 0.1, python_peer("redis_per_event", [])),
)


def _environment(requirements: Sequence[str]) -> Path:
    """The Python of an environment with these packages."""
    digest = hashlib.sha256(" ".join([*requirements, sys.version]).encode()).hexdigest()[:12]
    folder = cache_folder() / f"bench-{digest}"
    python, done = folder / "bin" / "python", folder / "complete"
    if done.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements],
    ):
        try:
            run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"cannot be installed: {error}") from error
        if run.returncode:
            raise Unavailable(f"cannot be installed: {(run.stderr or run.stdout).strip()[-500:]}")
    done.touch()
    return python
