"""The long run: ``python -m tests.faults --minutes 30 --seed 1``; ``--only kill,stop`` for some kinds alone."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tests.faults.arena import Arena
from tests.faults.campaign import Campaign, not_taken
from tests.faults.disk import small_disk
from tests.faults.kinds import KINDS, POINTS, Steps, at_point, every_point
from tests.faults.report import write

from stagepost.edges.failpoints import ACTIONS
from stagepost.edges.processes import ProcessGroup

EVERY_PATH_MIN = 60
"""From so many minutes on a run of all kinds has to meet every failpoint and every path of the protocol."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to attack")
    parser.add_argument("--seed", type=int, default=0, help="of events, faults and their order")
    parser.add_argument("--only", default="", help=f"some of {', '.join(KINDS)}, every-failpoint; by comma")
    parser.add_argument("--rate", type=float, default=150.0, help="events per second")
    parser.add_argument("--workers", type=int, default=3, help="of the role journey; rollup has one")
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 3), help="of 3 one at a time is harmed")
    parser.add_argument("--at-once", type=int, default=2, help="how many faults may be under way together")
    parser.add_argument("--slowness", type=float, default=1.0, help="stretches the limit of recovery on a busy machine")
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("."),
        help="folder for faults.json, faults.md, and after violations the logs",
    )
    options = parser.parse_args()
    kinds = [kind for kind in options.only.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in (*KINDS, "every-failpoint")]:
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(KINDS)}, every-failpoint")
    # Workers end with the arena, which has to be left for that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    workers = [*(f"j{n}" for n in range(options.workers)), "r0"]
    console = Console(stderr=True)
    progress = Progress(
        BarColumn(),
        TextColumn("{task.fields[faults]} faults, {task.description}"),
        TimeRemainingColumn(),
        console=console,
    )
    with (
        tempfile.TemporaryDirectory(prefix="stagepost-faults-") as folder,
        ProcessGroup(grace_s=2) as group,
        small_disk(group.folder) if "full-disk" in kinds else nullcontext("not asked for") as no_disk,
        Arena(group, Path(folder), options.seed, options.rate, options.brokers) as arena,
        progress,
    ):
        arena.disk = None if no_disk else group.folder
        if no_disk and "full-disk" in kinds:
            print(f"full-disk is left out: {no_disk}", file=sys.stderr)
        began = time.monotonic()
        task = progress.add_task("starting", total=options.minutes * 60, faults=0)

        def say(text: str) -> None:
            done = sum(campaign.result.faults.values())
            progress.update(task, completed=time.monotonic() - began, description=text, faults=done)
            if not console.is_terminal:
                print(f"{time.monotonic() - began:7.1f} {text}", file=sys.stderr, flush=True)

        campaign = Campaign(arena, say, options.at_once, options.slowness)
        result = campaign.run(workers, faults(arena, kinds, options.seed, options.minutes))
        if not kinds and options.minutes >= EVERY_PATH_MIN:
            for path in not_taken(result.counted):
                result.verdict.broken("I11", f"no worker took the path {path}")
            for point in {*POINTS} - {met.partition(":")[0] for met in result.failpoints}:
                result.verdict.broken("I11", f"no worker met the failpoint {point}")
        if result.verdict.violations:
            shutil.copytree(folder, options.report / "logs", dirs_exist_ok=True)
    about = {
        "seed": options.seed,
        "workers": len(workers),
        "brokers": options.brokers,
        "rate": options.rate,
        "slowness": options.slowness,
        "only": options.only,
    }
    path = write(result, about, options.report)
    print(path.read_text())
    return 1 if result.verdict.violations else 0


def faults(arena: Arena, kinds: list[str], seed: int, minutes: float) -> Iterator[tuple[str, Steps]]:
    """Kinds in random order until the time is over; every failpoint once with each action, if asked for."""
    chance, until = random.Random(f"faults {seed}"), time.monotonic() + 60 * minutes
    if "every-failpoint" in kinds:
        for point, action in every_point(ACTIONS):
            yield f"failpoint {action}", at_point(arena, point, action)
        kinds = [kind for kind in kinds if kind != "every-failpoint"]
        if not kinds:
            return
    while time.monotonic() < until:
        kind = chance.choice(kinds or [kind for kind in KINDS if kind != "full-disk"])
        yield kind, KINDS[kind](arena)


if __name__ == "__main__":
    sys.exit(main())
