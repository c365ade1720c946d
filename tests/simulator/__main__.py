"""``python -m tests.simulator``: plays schedules; prints one that fails with its trace, and how it is replayed."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulator.mirrors import InRedis
from tests.simulator.schedules import Played, play, play_many
from tests.simulator.variants import VARIANTS

from stagepost.edges.mirror import connect


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20_000, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default %(default)s)")
    parser.add_argument(
        "--variant", choices=sorted(VARIANTS), default="real", help="which worker (default %(default)s)"
    )
    parser.add_argument("--redis", metavar="URL", help="the mirror is this server, which is emptied again and again")
    options = parser.parse_args()
    keeper = InRedis(connect(options.redis)) if options.redis else None
    if options.schedules == 1:
        return _replay(options.seed, options.variant, keeper)
    if keeper is None:
        many = play_many(options.variant, options.seed, options.schedules)
    else:
        seeds = range(options.seed, options.seed + options.schedules)
        many = (play(seed, options.variant, keeper=keeper) for seed in seeds)
    began, total = time.monotonic(), Played()
    for played in many:
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
        return _replay(min(total.failed), options.variant, keeper)
    for what, times in sorted(total.happened.items()):
        print(f"{times:>9,}  {what}")
    print(f"{total.schedules:,} schedules in {took:.0f} s, none failed")
    return 0


def _replay(seed: int, variant: str, keeper: InRedis | None) -> int:
    played = play(seed, variant, print, keeper)
    print(f"schedule {seed}: {played.failed.get(seed, 'nothing is wrong')}")
    if played.failed:
        print(f"again: python -m tests.simulator --schedules 1 --seed {seed} --variant {variant!r}")
    return 1 if played.failed else 0


if __name__ == "__main__":
    sys.exit(main())
