"""What is believed of a rate before its own data: Gamma priors, and their estimation over many keys (alerts.md 2).

May not contain: windows, thresholds. Rates are events per delivery whose reaction was due (exposure).
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, median, pvariance

from msgspec import Struct

EVIDENCE = 30
"""Events below which a key's own rate says too little to learn a prior from (alerts.md 2.2)."""

SHIPPED_SHAPE = 3.4
"""Shape over keys as measured for complaints; for all metrics until something is learned (alerts.md 2.2)."""

SHIPPED_MEANS = {"complaint": 0.0003, "unsubscribe": 0.0025, "bounce": 0.008, "block": 0.005}
"""Base rates until something is learned (alerts.md 2.2)."""

SHIPPED_CV2 = 0.12
"""Squared coefficient of variation between siblings (alerts.md 2.2)."""

_CV2_BOUNDS = (0.02, 1.0)
_CV2_OF_MEDIAN = 2.2
"""The median of a squared normal deviate is 0.455 of its mean."""

_PARENT_FACTOR = 4
"""A parent tells what its child should be only where the child is a small part of it."""

_EXPECTED = 3
"""Expected events below which a cell says nothing about the variance (alerts.md 2.4)."""

_CLIPPED = 0.001
"""Share of the largest cells that is cut down to the next: unmarked incidents must not set the variance."""

_VARIANCE_FLOOR = 0.02


class Prior(Struct, frozen=True):
    """Gamma(shape, rate): ``shape`` pseudo-events in ``rate`` pseudo-exposure."""

    shape: float
    rate: float

    @property
    def mean(self) -> float:
        return self.shape / self.rate

    @classmethod
    def shipped(cls, metric: str) -> Prior:
        """The prior of a metric until data has been seen. Raises ``KeyError`` for a metric without one."""
        return cls(SHIPPED_SHAPE, SHIPPED_SHAPE / SHIPPED_MEANS[metric])

    def child(self, parent_events: float, parent_exposure: float, cv2: float = SHIPPED_CV2) -> Prior:
        """The prior of a key below a parent with this history; called on the global prior.

        Its mean is the parent's posterior mean; its shape adds the spread between siblings to what is unknown of the
        parent.
        """
        events = self.shape + parent_events
        mean = events / (self.rate + parent_exposure)
        shape = 1 / (cv2 + 1 / events)
        return Prior(shape, shape / mean)


def estimate_prior(pairs: Iterable[tuple[int, float]]) -> Prior:
    """The global prior by moments over (events, exposure) of keys, of which those with 30 events or more are taken.

    Raises ``ValueError`` where fewer than two such keys exist, or where all have the same rate.
    """
    rates = [events / exposure for events, exposure in pairs if events >= EVIDENCE]
    spread = pvariance(rates) if len(rates) > 1 else 0.0
    if spread == 0.0:
        raise ValueError(f"a prior needs at least two keys of different rate with {EVIDENCE} events, got {len(rates)}")
    mean = fmean(rates)
    shape = mean * mean / spread
    return Prior(shape, shape / mean)


def estimate_cv2(families: Iterable[tuple[int, float, int, float]]) -> float:
    """Squared CV between siblings from (events, exposure, parent's events, parent's exposure), the key included in its
    parent; keys with 30 events and a parent at least four times as large. The shipped value where there are none."""
    deviations = [
        (events / exposure / ((parent_events - events) / (parent_exposure - exposure)) - 1) ** 2
        for events, exposure, parent_events, parent_exposure in families
        if events >= EVIDENCE and parent_events >= _PARENT_FACTOR * events and parent_exposure > exposure
    ]
    if not deviations:
        return SHIPPED_CV2
    low, high = _CV2_BOUNDS
    return min(high, max(low, _CV2_OF_MEDIAN * median(deviations)))


def estimate_variance(cells: Iterable[tuple[int, float, float]]) -> float:
    """v(w) of one window length from cells (events x, expected m, baseline shape A) pooled over all keys.

    The mean of ((x - m)^2 - m)/m^2 - 1/A where m > 3, the top 0.1 % clipped, never below 0.02. Raises ``ValueError``
    where no cell expects more than 3 events.
    """
    excess = sorted(((x - m) ** 2 - m) / (m * m) - 1 / shape for x, m, shape in cells if m > _EXPECTED)
    if not excess:
        raise ValueError(f"a variance needs at least one cell that expects more than {_EXPECTED} events")
    cut = int(len(excess) * _CLIPPED)
    if cut:
        excess[-cut:] = [excess[-cut - 1]] * cut
    return max(_VARIANCE_FLOOR, fmean(excess))
