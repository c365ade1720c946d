"""The policy test: the thresholds of alerts.md 4, and that looking often does no harm."""

from __future__ import annotations

import random
from math import exp, log

import pytest

from stagepost.alerts import PolicyTest


@pytest.mark.parametrize(
    ("delivered", "events"), [(100, 3), (300, 4), (1_000, 6), (3_000, 11), (10_000, 23), (100_000, 139)]
)
def test_at_one_in_a_thousand_it_fires_at_the_documented_count_and_not_one_below(delivered: int, events: int) -> None:
    below, at = PolicyTest(0.001), PolicyTest(0.001)
    below.observe(delivered, events - 1)
    at.observe(delivered, events)
    assert (False, True) == (below.fires, at.fires)


def test_the_e_value_is_the_mean_likelihood_ratio_of_five_bets() -> None:
    test = PolicyTest(0.002)
    test.observe(1000, 5)
    bets = [exp(5 * log(r) - (r - 1) * 0.002 * 1000) for r in (1.5, 2, 3, 5, 10)]
    assert pytest.approx(sum(bets) / 5) == test.e_value


def test_order_does_not_matter_and_what_fired_stays_fired() -> None:
    test, other = PolicyTest(0.001), PolicyTest(0.001)
    for delivered, events in ((500, 0), (0, 6), (500, 0)):
        test.observe(delivered, events)
    other.observe(1000, 6)
    assert other.e_value == test.e_value
    test.observe(1_000_000, 0)
    assert (True, True) == (test.e_value < 1, test.fires)


def test_a_flood_of_events_is_evidence_and_no_overflow() -> None:
    test = PolicyTest(0.001)
    test.observe(1, 100_000)
    assert test.fires


def test_at_exactly_the_limit_hardly_any_sender_is_ever_accused_however_often_one_looks() -> None:
    rng = random.Random(5)
    accused = 0
    for _ in range(300):
        test = PolicyTest(0.001)
        for _ in range(100):
            test.observe(100, sum(rng.random() < 0.001 for _ in range(100)))
        accused += test.fires
    assert accused <= 6


@pytest.mark.parametrize(("limit", "alpha"), [(0.0, 0.01), (1.0, 0.01), (0.1, 0.0), (0.1, 1.0)])
def test_limits_are_shares(limit: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="shares"):
        PolicyTest(limit, alpha)
