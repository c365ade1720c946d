"""Plays many schedules, over several processes, and replays one that failed."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import structlog
from tests.simulator.invariants import Violation
from tests.simulator.mirrors import Keeper
from tests.simulator.variants import VARIANTS
from tests.simulator.world import World

STEPS = 40
"""Of a schedule, before faults end. Many short ones find more than few long ones."""

_PIECE = 50
"""Schedules that a process takes at once."""


@dataclass
class Played:
    """What came of some schedules; ``failed`` maps a seed to what was violated."""

    schedules: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)

    def add(self, other: Played) -> None:
        self.schedules += other.schedules
        self.happened.update(other.happened)
        self.failed.update(other.failed)


def play(
    seed: int,
    variant: str = "real",
    tell: Callable[[str], None] | None = None,
    keeper: Keeper | None = None,
) -> Played:
    """One schedule. ``tell`` is given its trace as it goes on; ``keeper``: of the mirror, else it is in memory."""
    world = World(seed, VARIANTS[variant], tell, keeper)
    played = Played(1, world.happened)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # workers tell of every fault
    try:
        world.play(STEPS)
    except Violation as violation:
        played.failed[seed] = f"violated: {violation}"
    except Exception as error:
        played.failed[seed] = f"{type(error).__name__}: {error}"
    finally:
        structlog.configure(**before)
    return played


def play_until_caught(variant: str, seeds: Iterable[int], keeper: Keeper | None = None) -> Played:
    """Schedules in order, up to and with the first that fails."""
    total = Played()
    for seed in seeds:
        total.add(play(seed, variant, keeper=keeper))
        if total.failed:
            break
    return total


def play_many(variant: str, first: int, schedules: int) -> Iterator[Played]:
    """Seeds from ``first`` on, played by as many processes as there are cores; results as they come."""
    pieces = [
        (variant, start, min(start + _PIECE, first + schedules)) for start in range(first, first + schedules, _PIECE)
    ]
    # Not by fork: whoever asks may have threads.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(_play_piece, pieces)


def _play_piece(piece: tuple[str, int, int]) -> Played:
    variant, start, end = piece
    total = Played()
    for seed in range(start, end):
        total.add(play(seed, variant))
    return total
