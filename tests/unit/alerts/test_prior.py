"""Priors and their estimation: closed forms, and the limits below which nothing is learned."""

from __future__ import annotations

import pytest

from stagepost.alerts.prior import Prior, estimate_cv2, estimate_prior, estimate_variance


@pytest.mark.parametrize(
    ("metric", "mean"), [("complaint", 0.0003), ("unsubscribe", 0.0025), ("bounce", 0.008), ("block", 0.005)]
)
def test_the_shipped_prior_of_a_metric_has_shape_3_4_and_its_base_rate(metric: str, mean: float) -> None:
    prior = Prior.shipped(metric)
    assert (3.4, pytest.approx(mean)) == (prior.shape, prior.mean)


def test_the_prior_of_a_child_has_the_mean_of_its_parents_posterior_and_adds_the_spread_of_siblings() -> None:
    child = Prior(3.4, 3.4 / 0.0003).child(parent_events=60, parent_exposure=100_000, cv2=0.12)
    mean = (3.4 + 60) / (3.4 / 0.0003 + 100_000)
    assert pytest.approx(mean) == child.mean
    assert pytest.approx(1 / (0.12 + 1 / 63.4)) == child.shape


def test_a_large_parent_leaves_only_the_spread_between_siblings() -> None:
    assert pytest.approx(1 / 0.12, rel=1e-3) == Prior(3.4, 1000).child(1e6, 1e9).shape


def test_the_prior_by_moments_takes_only_keys_with_30_events() -> None:
    pairs = [(40, 100_000.0), (80, 100_000.0), (29, 10.0)]
    prior = estimate_prior(pairs)
    mean, variance = 0.0006, 0.0002**2
    assert (pytest.approx(mean * mean / variance), pytest.approx(mean / variance)) == (prior.shape, prior.rate)


@pytest.mark.parametrize("pairs", [[], [(40, 1000.0)], [(40, 1000.0), (40, 1000.0)], [(29, 10.0), (10, 1000.0)]])
def test_no_prior_is_made_from_fewer_than_two_keys_of_different_rate(pairs: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="at least two keys"):
        estimate_prior(pairs)


def test_cv2_is_2_2_times_the_median_of_squared_deviations_from_the_siblings() -> None:
    families = [(40, 1000.0, 240, 9000.0), (30, 1000.0, 230, 9000.0), (20, 1.0, 900, 9000.0), (40, 1000.0, 100, 2000.0)]
    deviations = [(40 / 1000 / (200 / 8000) - 1) ** 2, (30 / 1000 / (200 / 8000) - 1) ** 2]
    assert pytest.approx(2.2 * sum(deviations) / 2) == estimate_cv2(families)


def test_cv2_stays_within_its_bounds_and_is_the_shipped_one_without_data() -> None:
    assert 0.02 == estimate_cv2([(40, 1000.0, 400, 10_000.0)])
    assert 1.0 == estimate_cv2([(400, 1000.0, 2000, 1_000_000.0)])
    assert 0.12 == estimate_cv2([])


def test_the_variance_is_what_counts_vary_beyond_chance_and_beyond_the_baselines_own_doubt() -> None:
    cells = [(14, 10.0, 50.0), (4, 10.0, 50.0), (100, 2.0, 50.0)]
    expected = ((16 - 10) / 100 - 0.02 + (36 - 10) / 100 - 0.02) / 2
    assert pytest.approx(expected) == estimate_variance(cells)


def test_the_variance_has_a_floor_and_cuts_off_its_largest_cells() -> None:
    assert 0.02 == estimate_variance([(10, 10.0, 50.0)])
    calm = [(15, 10.0, 50.0)] * 1999
    assert pytest.approx(0.13) == estimate_variance([*calm, (10_000, 10.0, 50.0)])


def test_no_variance_is_made_from_cells_that_expect_nothing() -> None:
    with pytest.raises(ValueError, match="expects more than 3"):
        estimate_variance([(5, 2.9, 10.0)])
