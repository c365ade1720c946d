"""The real worker goes through every schedule of faults, and workers that break a rule do not."""

from __future__ import annotations

import pytest
from tests.simulator.mirrors import InRedis, Keeper
from tests.simulator.schedules import Played, play, play_many, play_until_caught
from tests.simulator.variants import VARIANTS
from tests.simulator.world import ERRORS, FAILPOINTS, PORTS

from stagepost.edges.mirror import connect

SCHEDULES = 20_000

OVER_REDIS = 60
"""L1 of delivery.md 5: each call of the mirror goes to a server, so there are fewer (more: ``--redis``)."""

OUTSIDE = {
    *("flushed", "rolled back", "compacted", "retention", "expelled", "clean stop", "late write", "disconnect"),
    *("late end refused", "producer.commit repeated", "producer.abort repeated", "Kafka lost committed data"),
    *("nothing for 2 s", "nothing for 35 s", "nothing for 300 s", "nothing for 720 s"),
}

PATHS = {
    "transactions_total aborted",  # A
    "fenced_total",  # F
    "transactions_total unknown",  # U
    "mirror_refusals_total gap",  # R
    "rebalances_total",  # V
    *(f"producers_replaced_total {reason}" for reason in "slow_commit retriable disconnect fenced unknown".split()),
}


def ports(*marks: str) -> set[str]:
    """Every call of every port, before its effect and after it, where there is an after."""
    ends = {"intake.poll", "reader.read"}
    calls = [f"{port}.{name}" for port, names in PORTS.items() for name in names]
    return {f"{mark} {call}" for mark in marks for call in (*calls, *(f"{c}!" for c in calls if c not in ends))}


@pytest.mark.slow
def test_every_schedule_of_faults_ends_with_everything_done_once_and_every_fault_was_played() -> None:
    total = Played()
    for played in play_many("real", 0, SCHEDULES):
        total.add(played)
        assert {} == total.failed, "replay: python -m tests.simulator --schedules 1 --seed SEED"
    planted = {f"{point} {error.__name__}" for point, errors in ERRORS.items() for error in errors}
    failpoints = {f"{mark} {name}" for mark in ("killed", "stopped", "slow") for name in FAILPOINTS}
    wanted = planted | failpoints | ports("killed", "stopped", "slow") | OUTSIDE | PATHS
    assert set() == wanted - set(total.happened)


@pytest.mark.slow
def test_schedules_over_a_real_redis_end_as_those_over_its_twin(redis_url: str) -> None:
    keeper, total = InRedis(connect(redis_url)), Played()
    for seed in range(OVER_REDIS):
        total.add(play(seed, keeper=keeper))
        assert {} == total.failed
    assert set() == {"flushed", "rolled back", "late write", "mirror_refusals_total gap"} - set(total.happened)


def test_a_worker_that_breaks_a_rule_of_the_mirror_is_found_out_over_a_real_redis(redis_url: str) -> None:
    assert_found_out("unvalidated reads", InRedis(connect(redis_url)))


def test_a_schedule_replays_by_its_seed() -> None:
    def trace(seed: int) -> list[str]:
        lines: list[str] = []
        play(seed, "real", lines.append)
        return lines

    traces = [trace(seed) for seed in range(20)]
    assert traces == [trace(seed) for seed in range(20)]
    assert sum(map(len, traces)) > 20


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "real"])
def test_a_worker_that_breaks_a_rule_is_found_out(name: str) -> None:
    assert_found_out(name)


def assert_found_out(name: str, keeper: Keeper | None = None) -> None:
    variant = VARIANTS[name]
    played = play_until_caught(name, range(variant.first, variant.first + variant.within), keeper)
    assert 1 == len(played.failed), f"not caught in {played.schedules} schedules"
    assert all(why.startswith("violated: ") for why in played.failed.values()), played.failed
