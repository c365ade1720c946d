"""The fixed short set of the fault suite: one installation is attacked, and an oracle judges (tests/faults)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.arena import Arena
from tests.faults.campaign import Campaign, Result, not_taken
from tests.faults.kinds import KINDS, POINTS, Steps, at_point, every_point

from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis
from stagepost.edges.processes import ProcessGroup

pytestmark = pytest.mark.slow

SERVERS = ("flushall", "rollback", "broker-kill", "storm")


def faults(arena: Arena) -> Iterator[tuple[str, Steps]]:
    for point, action in every_point(["stop", "kill"]):
        yield f"failpoint {action}", at_point(arena, point, action)
    for _ in range(3):
        yield "held-end", KINDS["held-end"](arena)
    for kind in SERVERS:
        yield kind, KINDS[kind](arena)


@pytest.fixture(scope="module")
def result(
    process_group: ProcessGroup,
    breakable_kafka: LocalKafka,
    breakable_redis: LocalRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Result:
    """``breakable_*`` skip where there is no server to be had; the suite needs its own, behind proxies."""
    folder: Path = tmp_path_factory.mktemp("faults")
    with Arena(process_group, folder, seed=5, rate=100) as arena:
        campaign = Campaign(arena, lambda text: print(text, file=sys.stderr), at_once=3, slowness=3, calm_s=0)
        return campaign.run(["j0", "j1", "r0"], faults(arena))


def test_no_invariant_is_broken(result: Result) -> None:
    assert [] == result.verdict.violations
    counts = result.verdict.counts
    assert [] == [what for what in ("moves", "moves by timer", "looks at Redis", "tallies") if counts[what] < 50]


def test_every_failpoint_was_met_with_kill_and_with_stop(result: Result) -> None:
    assert [] == result.unharmed
    assert {f"{point}:{action}" for point in POINTS for action in ("kill", "stop")} == set(result.failpoints)


def test_a_late_end_of_transaction_is_refused_by_the_broker(result: Result) -> None:
    assert result.late_ends.total() >= 1
    assert 0 == result.late_ends["0"]


def test_every_path_of_the_protocol_was_taken(result: Result) -> None:
    assert [] == not_taken(result.counted)
