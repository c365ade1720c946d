"""The long run: ``python -m tests.oracle --cases 20000 --seed 1``; stops at the first difference with a small case."""

from __future__ import annotations

import argparse
import sys
import time

from tests.oracle.compare import agrees, case, report, smaller


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    options.add_argument("--cases", type=int, default=20_000, help="how many random cases")
    options.add_argument("--seed", type=int, default=0, help="number of the first case")
    options = options.parse_args()
    began = time.monotonic()
    for done in range(options.cases):
        one = case(options.seed + done)
        if not agrees(one):
            print(f"case {options.seed + done} differs; the smallest form found:\n")
            print(report(smaller(one, lambda candidate: not agrees(candidate))))
            return 1
        if (done + 1) % 500 == 0 or done + 1 == options.cases:
            rate = (done + 1) / (time.monotonic() - began)
            print(f"{done + 1} cases agree, {rate:.0f} a second", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
