"""The spike detector: closed forms of its statistic, what decides, and that order never does."""

from __future__ import annotations

import random
from math import exp, log

import pytest

from stagepost.alerts import DelayCurve, Prior, SpikeScan, Verdict
from stagepost.alerts.spike import SHIPPED_VARIANCE, Baseline, Rate

PROMPT = DelayCurve((1.0,), (0.001,))
"""Every reaction is due in the bin of its delivery, so that exposure is deliveries."""

HOUR, DAY = 12, 288


def llr(x: int, m: float, v: float, r: int) -> float:
    """The gamma-Poisson log likelihood ratio of alerts.md 2.5."""
    return x * log(r) - (x + 1 / v) * log((1 + v * r * m) / (1 + v * m))


def scan(prior: Prior | None = None, **changed: object) -> SpikeScan:
    prior = Prior(3.4, 3.4 / 0.001) if prior is None else prior
    return SpikeScan("complaint", prior, {}, curve=PROMPT, **changed)  # type: ignore[arg-type]


def test_the_statistic_is_the_closed_form_at_its_best_window_and_ratio() -> None:
    key = scan()
    for bin_ in range(1000, 1000 + HOUR):
        key.observe(bin_, 500, 1)
    verdict = key.statistic(1011)
    forms = {
        (window, ratio): llr(bins, 0.001 * 500 * bins, SHIPPED_VARIANCE[window] + 1 / 3.4, ratio)
        for window, bins in (("15m", 3), ("1h", 12), ("4h", 12), ("24h", 12), ("72h", 12))
        for ratio in (2, 4, 10)
    }
    best = max(forms, key=forms.__getitem__)
    assert best == (verdict.window, verdict.ratio)
    assert pytest.approx(forms[best]) == verdict.llr


def test_the_figures_of_a_verdict_derive_from_each_other() -> None:
    key = scan()
    for bin_ in range(2000):
        key.observe(bin_, 40, 1 if bin_ % 25 == 0 or bin_ > 1980 else 0)
    verdict = key.statistic(1999)
    assert pytest.approx(verdict.baseline_rate * verdict.exposure) == verdict.expected
    assert pytest.approx(verdict.events / verdict.expected) == verdict.ratio_observed
    assert pytest.approx(verdict.events - verdict.expected) == verdict.excess
    assert pytest.approx(SHIPPED_VARIANCE[verdict.window] + 1 / verdict.baseline_events) == verdict.variance
    assert pytest.approx(llr(verdict.events, verdict.expected, verdict.variance, verdict.ratio)) == verdict.llr
    assert verdict.fires


@pytest.mark.parametrize(("m", "events"), [(0.01, 5), (0.1, 5), (0.3, 7), (1.0, 10), (3.0, 20)])
def test_the_least_evidence_that_fires_is_as_documented(m: float, events: int) -> None:
    """alerts.md 2.6: with v .15 and h 10, 5 events when m is .01-.1, 7 at .3, 10 at 1, 20 at 3."""

    def fires(count: int) -> bool:
        prior = Prior(1e9, 1e12)
        key = SpikeScan("complaint", prior, {"15m": 0.15}, windows=("15m",), curve=PROMPT)
        key.observe(100, round(m * 1000), count)
        return key.statistic(100).fires

    assert (False, True) == (fires(events - 1), fires(events))


def test_without_events_the_smallest_window_is_reported_and_nothing_fires() -> None:
    key = scan()
    key.observe(100, 1000, 0)
    verdict = key.statistic(102)
    assert ("15m", 0.0, 0, 1000, False) == (
        verdict.window,
        verdict.llr,
        verdict.events,
        verdict.delivered,
        verdict.fires,
    )
    assert pytest.approx(1.0) == verdict.expected


def test_events_of_which_no_delivery_is_known_have_no_rate_and_never_fire() -> None:
    key = scan()
    key.observe(100, 0, 500)
    assert (0.0, False) == (key.statistic(100).llr, key.statistic(100).fires)


def test_the_baseline_is_prior_plus_everything_older_than_the_guard() -> None:
    key = scan()
    key.observe(0, 10_000, 20)
    key.observe(DAY + 10, 5_000, 7)
    baseline = key.baseline(2 * DAY)
    older = Rate((3.4 + 20) / (3400 + 10_000), 3.4 + 20)
    assert pytest.approx(older.p) == baseline.rates["15m"].p
    assert (older.a, older.a) == (baseline.rates["15m"].a, baseline.rates["24h"].a)
    assert Rate(0.001, 3.4) == baseline.rates["72h"]


def test_a_frozen_baseline_is_used_as_it_is() -> None:
    key = scan()
    key.observe(100, 1000, 6)
    frozen = Baseline({name: Rate(0.5, 100.0) for name in ("15m", "1h", "4h", "24h", "72h")})
    assert (500.0, 0.0) == (key.statistic(100, frozen).expected, key.statistic(100, frozen).llr)


def test_windows_do_not_reach_into_an_incident_that_is_over() -> None:
    key = scan()
    key.observe(100, 1000, 50)
    key.observe(110, 1000, 1)
    assert key.statistic(110).fires
    assert (1, False) == (key.statistic(110, since=105).events, key.statistic(110, since=105).fires)


def test_a_bin_more_than_a_day_before_the_newest_is_answered_as_of_a_day_before() -> None:
    key = scan()
    key.observe(1000, 1000, 3)
    key.observe(1000 + 2 * DAY, 10, 0)
    assert key.statistic(1000 + DAY) == key.statistic(5)


def test_exposure_follows_the_shipped_curve_of_the_metric() -> None:
    key = SpikeScan("complaint", Prior.shipped("complaint"), {})
    key.observe(0, 1000, 0)
    verdict = key.statistic(2)
    assert pytest.approx(1000 * DelayCurve.shipped("complaint").share_within(15)) == verdict.exposure


def test_a_rate_is_cleared_when_the_shortest_window_that_can_tell_refutes_it() -> None:
    baseline = Baseline({name: Rate(0.001, 100.0) for name in ("1h", "4h", "24h", "72h")})
    key = scan()
    key.observe(1000, 2000, 30)
    assert not key.cleared(1000, baseline, 4)
    key.observe(1000 + 2 * HOUR, 2000, 4)
    assert key.cleared(1000 + 2 * HOUR, baseline, 4), "1 h: 2 expected, 4 ln 4 <= 3 x 2"
    assert not key.cleared(1000 + 2 * HOUR, baseline, 2), "4 h: 4 expected, 34 ln 2 > 4"


def test_where_no_window_expects_enough_72_hours_decide() -> None:
    baseline = Baseline({name: Rate(0.001, 100.0) for name in ("1h", "4h", "24h", "72h")})
    key = scan()
    key.observe(1000, 100, 6)
    assert not key.cleared(1000 + 2 * DAY, baseline, 4)
    assert key.cleared(1000 + 3 * DAY, baseline, 4)


def test_the_same_observations_in_any_order_give_the_same_verdicts_bit_for_bit() -> None:
    rng = random.Random(7)
    cells = [(rng.randrange(1200), rng.randrange(30), rng.random() < 0.2) for _ in range(900)]

    def verdicts(order: list[tuple[int, int, bool]]) -> list[Verdict]:
        key = SpikeScan("unsubscribe", Prior.shipped("unsubscribe"), {})
        for bin_, delivered, events in order:
            key.observe(bin_, delivered, int(events))
        return [key.statistic(bin_) for bin_ in range(950, 1210, 13)]

    first = verdicts(cells)
    for _ in range(4):
        rng.shuffle(cells)
        assert first == verdicts(cells)
    halves = [(b, d - d // 2, x) for b, d, x in cells] + [(b, d // 2, False) for b, d, _ in cells]
    assert first == verdicts(halves)


def test_a_scan_goes_on_from_its_series_and_a_copy_is_independent() -> None:
    key = SpikeScan("complaint", Prior.shipped("complaint"), {})
    for bin_ in range(500):
        key.observe(bin_, 20, 0)
    kept, other = SpikeScan("complaint", Prior.shipped("complaint"), {}, series=key.series()), key.copy()
    for each in (key, kept):
        each.observe(500, 0, 6)
    assert key.statistic(500) == kept.statistic(500)
    assert 0 == other.statistic(500).events


def test_windows_and_metrics_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="windows are of"):
        SpikeScan("complaint", Prior(1, 1), {}, windows=("2h",))
    with pytest.raises(KeyError):
        SpikeScan("opens", Prior(1, 1), {})


def blast(rng: random.Random, rate: float, median: float, sigma: float) -> tuple[dict[int, int], dict[int, int]]:
    """3000 deliveries within two hours, reactions with a lognormal delay in minutes."""
    delivered: dict[int, int] = {}
    events: dict[int, int] = {}
    for _ in range(3000):
        bin_ = 10_000 + rng.randrange(24)
        delivered[bin_] = delivered.get(bin_, 0) + 1
        if rng.random() < rate:
            reacted = bin_ + int(exp(rng.gauss(log(median), sigma)) // 5)
            events[reacted] = events.get(reacted, 0) + 1
    return delivered, events


def fires_within_three_weeks(metric: str, rate: float, median: float, sigma: float, seed: int) -> bool:
    delivered, events = blast(random.Random(seed), rate, median, sigma)
    key = SpikeScan(metric, Prior.shipped(metric), {})
    fired = False
    for bin_ in sorted(bin_ for bin_ in delivered.keys() | events.keys() if bin_ < 10_000 + 21 * DAY):
        key.observe(bin_, delivered.get(bin_, 0), events.get(bin_, 0))
        fired = fired or (bin_ in events and key.statistic(bin_).fires)
    return fired


REACTIONS = {"complaint": (0.0003, 354.0, 2.27), "unsubscribe": (0.0025, 167.0, 2.44)}


@pytest.mark.parametrize(("metric", "planted"), [("complaint", 0.01), ("unsubscribe", 0.03)])
def test_a_planted_spike_in_3000_deliveries_is_always_found_and_a_calm_send_never(metric: str, planted: float) -> None:
    base, median, sigma = REACTIONS[metric]
    assert [True] * 40 == [fires_within_three_weeks(metric, planted, median, sigma, seed) for seed in range(40)]
    assert [False] * 200 == [fires_within_three_weeks(metric, base, median, sigma, seed) for seed in range(200)]


def test_exposure_of_72_hours_is_what_was_due_in_them() -> None:
    key = scan()
    key.observe(100, 30, 0)
    key.observe(900, 12, 0)
    assert [42.0, 12.0, 0.0] == [round(key.exposed(bin_), 6) for bin_ in (963, 964, 900 + 3 * DAY)]


def test_a_span_admitted_again_is_part_of_the_baseline() -> None:
    key = scan()
    key.observe(0, 1000, 50)
    key.exclude(0, 0)
    assert Rate(0.001, 3.4) == key.baseline(2 * DAY).rates["1h"]
    key.admit(0, 0)
    assert 53.4 == key.baseline(2 * DAY).rates["1h"].a
