"""``python -m tests.mutate``: break each rule of the journey language once, and see that a test fails.

Prints each rule with the test that saw it broken. Exits with 1 when a change survived all tests, when its piece of
source does not stand exactly once in its file, or when the tests could not be run with it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tests.mutate.table import MUTATIONS, Mutation
from tests.mutate.trial import Verdict, pieces_found, run_trial


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("--only", metavar="NAME", default="", help="only rules whose sentence or file holds NAME")
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count() or 1, help="trials at a time")
    chosen = parser.parse_args(arguments)
    mutations = [m for m in MUTATIONS if chosen.only in m.rule or chosen.only == m.file]
    if not mutations:
        parser.error(f"no rule holds {chosen.only!r}")
    stale = [m for m in mutations if pieces_found(m) != 1]
    for mutation in stale:
        print(f"NOT FOUND ONCE  {mutation.file}: {mutation.rule}: {mutation.piece!r}")
    if stale:
        return 1
    if (sound := run_trial(None)).outcome != "survived":
        print(f"the tests fail without any change: {sound.by}")
        return 1
    verdicts = _try_all(mutations, chosen.jobs)
    killed = sum(verdict.outcome == "killed" for verdict in verdicts)
    print(f"{killed} of {len(mutations)} killed")
    return 0 if killed == len(mutations) else 1


def _try_all(mutations: Sequence[Mutation], jobs: int) -> list[Verdict]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    verdicts = []
    with (
        Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress,
        ThreadPoolExecutor(max(1, jobs)) as pool,
    ):
        bar = progress.add_task("breaking rules", total=len(mutations))
        trials = {pool.submit(run_trial, mutation): mutation for mutation in mutations}
        for trial in as_completed(trials):
            verdict = trial.result()
            verdicts.append(verdict)
            print(line(trials[trial], verdict), flush=True)
            progress.advance(bar)
    return verdicts


def line(mutation: Mutation, verdict: Verdict) -> str:
    """One line of the report."""
    if verdict.outcome == "survived":
        return f"SURVIVED  {mutation.file}: {mutation.rule}"
    return f"{verdict.outcome}  {mutation.file}: {mutation.rule}: {verdict.by}"


if __name__ == "__main__":
    sys.exit(main())
