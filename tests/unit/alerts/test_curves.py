"""Delay curves: the shipped ones against the lognormal delays that they stand for, and the fit."""

from __future__ import annotations

from math import log
from statistics import NormalDist, fmean

import pytest

from stagepost.alerts.curves import TAUS_MIN, DelayCurve

AGES = [5 * 1.3**n for n in range(36)]
"""Minutes, from one bin to six weeks."""


def delay(age: float, median: float, sigma: float) -> float:
    """Share of reactions within ``age`` minutes: lognormal, 5 % of them later by an exponential of 6 h."""

    def prompt(minutes: float) -> float:
        return NormalDist().cdf(log(minutes / median) / sigma) if minutes > 0 else 0.0

    detours = [-360 * log(1 - (n + 0.5) / 400) for n in range(400)]
    return 0.95 * prompt(age) + 0.05 * fmean(prompt(age - detour) for detour in detours)


LOGNORMAL = {"complaint": (354.0, 2.27, 0.003), "unsubscribe": (167.0, 2.44, 0.003), "bounce": (2.0, 1.8, 0.011)}


@pytest.mark.parametrize("metric", LOGNORMAL)
def test_a_shipped_curve_is_as_near_to_its_delays_as_claimed(metric: str) -> None:
    median, sigma, error = LOGNORMAL[metric]
    curve = DelayCurve.shipped(metric)
    assert max(abs(curve.share_within(age) - delay(age, median, sigma)) for age in AGES) < error


@pytest.mark.parametrize("metric", LOGNORMAL)
def test_a_curve_fitted_to_measured_shares_is_as_near_as_the_shipped_one(metric: str) -> None:
    median, sigma, error = LOGNORMAL[metric]
    shares = [delay(age, median, sigma) for age in AGES]
    fitted = DelayCurve.fit(AGES, shares)
    assert max(abs(fitted.share_within(age) - share) for age, share in zip(AGES, shares, strict=True)) < error
    assert min(fitted.weights) >= 0
    assert pytest.approx(1.0) == sum(fitted.weights)


def test_a_block_comes_as_fast_as_a_bounce() -> None:
    assert DelayCurve.shipped("block") is DelayCurve.shipped("bounce")


def test_what_is_due_and_what_is_still_to_come_of_a_delivery_add_up() -> None:
    curve = DelayCurve.shipped("complaint")
    for bins in (0, 1, 48, 1299, 1300, 5000):
        to_come = sum(w * left for w, left in zip(curve.weights, curve.decay(bins), strict=True))
        assert pytest.approx(sum(curve.weights)) == sum(curve.due(bins)) + to_come
        assert pytest.approx(curve.share_within(5 * bins)) == sum(curve.due(bins))


@pytest.mark.parametrize("weights", [(1.0,), (0.5,) * len(TAUS_MIN), (1.2, -0.2, 0, 0, 0, 0, 0)])
def test_weights_that_are_no_shares_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights"):
        DelayCurve(weights)


def test_a_fit_needs_a_share_for_each_age() -> None:
    with pytest.raises(ValueError, match="ages"):
        DelayCurve.fit([5, 10], [0.1])
