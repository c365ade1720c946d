"""``python -m tests.simulator``: plays schedules; prints one that fails with its trace, and how it is replayed."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulator.schedules import Played, play, play_many
from tests.simulator.variants import VARIANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default %(default)s)")
    parser.add_argument(
        "--variant", choices=sorted(VARIANTS), default="real", help="which worker (default %(default)s)"
    )
    options = parser.parse_args()
    if options.schedules == 1:
        return _replay(options.seed, options.variant)
    began, total = time.monotonic(), Played()
    for played in play_many(options.variant, options.seed, options.schedules):
        total.add(played)
        took = time.monotonic() - began
        rate = total.schedules / took
        left = (options.schedules - total.schedules) / rate
        if sys.stderr.isatty():
            share = 30 * total.schedules // options.schedules
            bar = f"[{'#' * share}{'.' * (30 - share)}] {total.schedules:,} of {options.schedules:,} schedules"
            print(f"\r{bar}, {rate:.0f} a second, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
        if total.failed:
            break
    print(file=sys.stderr)
    if total.failed:
        return _replay(min(total.failed), options.variant)
    for what, times in sorted(total.happened.items()):
        print(f"{times:>9,}  {what}")
    print(f"{total.schedules:,} schedules in {took:.0f} s, none failed")
    return 0


def _replay(seed: int, variant: str) -> int:
    played = play(seed, variant, print)
    print(f"schedule {seed}: {played.failed.get(seed, 'nothing is wrong')}")
    if played.failed:
        print(f"again: python -m tests.simulator --schedules 1 --seed {seed} --variant {variant!r}")
    return 1 if played.failed else 0


if __name__ == "__main__":
    sys.exit(main())
