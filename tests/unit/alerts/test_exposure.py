"""Sums by bin: against the plain recursion of alerts.md 2.1, in any order, folded or not."""

from __future__ import annotations

import random
from math import exp

import pytest

from stagepost.alerts.curves import BIN_MIN, DelayCurve
from stagepost.alerts.exposure import DAY, HORIZON, KEEP, Exposure, Sums

CURVE = DelayCurve.shipped("complaint")


def naive(delivered: dict[int, int], to: int) -> float:
    """The recursion as written: M += d, e = sum w M (1 - a), M = M a."""
    powers = [exp(-BIN_MIN / tau) for tau in CURVE.taus_min]
    modes, exposure = [0.0] * len(powers), 0.0
    for bin_ in range(min(delivered), to + 1):
        modes = [mode + delivered.get(bin_, 0) for mode in modes]
        exposure += sum(w * m * (1 - a) for w, m, a in zip(CURVE.weights, modes, powers, strict=True))
        modes = [m * a for m, a in zip(modes, powers, strict=True)]
    return exposure


def filled(cells: list[tuple[int, int, int]]) -> Exposure:
    exposure = Exposure(CURVE)
    for bin_, delivered, events in cells:
        exposure.add(bin_, delivered, events)
    return exposure


def traffic(seed: int, bins: int) -> list[tuple[int, int, int]]:
    rng = random.Random(seed)
    return [(rng.randrange(bins), rng.randrange(50), rng.randrange(3)) for _ in range(400)]


def test_exposure_is_the_recursion_of_the_delay_curve() -> None:
    cells = traffic(1, 900)
    delivered: dict[int, int] = {}
    for bin_, count, _ in cells:
        delivered[bin_] = delivered.get(bin_, 0) + count
    exposure = filled(cells)
    for bin_ in (0, 1, 450, 899, 1100):
        assert pytest.approx(naive(delivered, bin_)) == exposure.exposure_to(bin_)


def test_events_and_deliveries_are_counted_by_bin() -> None:
    exposure = filled([(10, 5, 1), (12, 7, 0), (12, 1, 2), (20, 0, 4)])
    assert [0, 1, 1, 3, 7] == [exposure.events_to(bin_) for bin_ in (9, 10, 11, 12, 20)]
    assert [5, 8, 13, 0] == [exposure.delivered_between(*span) for span in ((9, 10), (10, 12), (0, 99), (12, 99))]
    assert (20, 10) == (exposure.newest, exposure.first)


def test_the_same_additions_in_any_order_give_the_same_bits() -> None:
    cells = traffic(2, 1000)
    asked = [filled(cells).exposure_to(bin_) for bin_ in range(600, 1000, 37)]
    for seed in range(5):
        shuffled = list(cells)
        random.Random(seed).shuffle(shuffled)
        assert asked == [filled(shuffled).exposure_to(bin_) for bin_ in range(600, 1000, 37)]


def test_the_bins_asked_for_take_no_part_in_the_arithmetic() -> None:
    asked, quiet = Exposure(CURVE), Exposure(CURVE)
    for bin_, delivered, events in sorted(traffic(3, 1000)):
        asked.add(bin_, delivered, events)
        asked.exposure_to(bin_ + 1)
        quiet.add(bin_, delivered, events)
    assert quiet.exposure_to(1000) == asked.exposure_to(1000)


def test_packing_at_any_point_changes_no_bit() -> None:
    cells = sorted(traffic(4, 4 * KEEP))
    whole, packed = filled(cells), Exposure(CURVE)
    for bin_, delivered, events in cells:
        packed.add(bin_, delivered, events)
        packed = Exposure(CURVE, packed.series())
    newest = cells[-1][0]
    for bin_ in range(newest - KEEP + 1, newest + 10, 31):
        assert (whole.events_to(bin_), whole.exposure_to(bin_)) == (packed.events_to(bin_), packed.exposure_to(bin_))
        assert whole.older_than(bin_, newest) == packed.older_than(bin_, newest)


def test_cells_that_are_kept_are_bounded() -> None:
    exposure = filled([(bin_, 1, 1) for bin_ in range(60 * DAY)])
    series = exposure.series()
    assert (KEEP, KEEP) == (len(series.delivered), len(series.events))
    assert len(series.marks) <= 31


def test_what_comes_after_folding_is_added_to_the_sums() -> None:
    late, prompt = Exposure(CURVE), Exposure(CURVE)
    cells = [(100, 50, 2), (300, 10, 1), (300 + KEEP, 20, 3)]
    for bin_, delivered, events in (*cells, (200, 40, 4), (310, 5, 5), (50, 1, 0)):
        late.add(bin_, delivered, events)
    for bin_, delivered, events in sorted((*cells, (200, 40, 4), (310, 5, 5), (50, 1, 0))):
        prompt.add(bin_, delivered, events)
    for bin_ in (300 + KEEP, 400 + KEEP):
        assert prompt.events_to(bin_) == late.events_to(bin_)
        assert pytest.approx(prompt.exposure_to(bin_)) == late.exposure_to(bin_)
    assert 50 == late.first


def test_a_baseline_sees_no_excluded_span_even_when_it_is_folded_long_ago() -> None:
    quiet, spiky = Exposure(CURVE), Exposure(CURVE)
    for bin_ in range(10 * DAY):
        spike = 2 * DAY <= bin_ < 2 * DAY + 100
        for exposure, events in ((quiet, 0 if spike else 1), (spiky, 50 if spike else 1)):
            exposure.add(bin_, 10, events)
            if bin_ == 2 * DAY + 3:
                exposure.exclude(2 * DAY, bin_)
            if bin_ == 2 * DAY + 99:
                exposure.exclude(2 * DAY, bin_)
    assert quiet.older_than(9 * DAY, 10 * DAY) == spiky.older_than(9 * DAY, 10 * DAY)
    assert 9 * DAY + 1 - 100 == spiky.older_than(9 * DAY, 10 * DAY).events


def test_spans_that_meet_become_one_and_can_be_admitted_again() -> None:
    exposure = filled([(bin_, 10, 1) for bin_ in range(300)])
    exposure.exclude(100, 120)
    exposure.exclude(110, 150)
    exposure.exclude(200, 210)
    assert 301 - 1 - 51 - 11 == exposure.older_than(299, 299).events
    exposure.admit(100, 150)
    assert 300 - 11 == exposure.older_than(299, 299).events


def test_a_baseline_forgets_what_is_older_than_the_horizon_to_the_day() -> None:
    exposure = filled([(bin_, 1, 1) for bin_ in range(40 * DAY)])
    asked = 40 * DAY - 1
    horizon = (asked - HORIZON) // DAY * DAY
    assert asked - DAY + 1 - horizon == exposure.older_than(asked - DAY, asked).events


def test_a_copy_is_independent() -> None:
    exposure = filled([(10, 5, 1)])
    other = exposure.copy()
    other.add(11, 5, 1)
    assert (1, 2) == (exposure.events_to(20), other.events_to(20))
    assert exposure.exposure_to(20) < other.exposure_to(20)


def test_sums_add_and_subtract() -> None:
    assert Sums(1, 0.5) == Sums(3, 2.0) + Sums(1, 0.5) - Sums(3, 2.0)
