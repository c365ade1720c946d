"""How long reactions take: a delay curve as a sum of exponentials, so that exposure is a recursion (alerts.md 2.1).

May not contain: counts of any key, thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import exp, expm1, fsum

BIN_MIN = 5
"""Width of a bin in minutes, as of the tallies."""

TAUS_MIN = (2.0, 15.0, 80.0, 400.0, 1800.0, 9000.0, 45000.0)
"""Time constants from a mail server's refusal to a newsletter read a month later (alerts.md 2.1)."""

_WEIGHTS = {
    "complaint": (0.000, 0.048, 0.198, 0.324, 0.269, 0.130, 0.025),
    "unsubscribe": (0.018, 0.127, 0.244, 0.306, 0.197, 0.085, 0.018),
    "bounce": (0.647, 0.259, 0.043, 0.050, 0.001, 0.0, 0.0),
}
"""Fitted to lognormal delays of industry figures (alerts.md 1.2); a block comes as fast as a bounce."""

_SHARED = {"block": "bounce"}

_TABLE = 1300
"""Bins for which powers are kept: a little over the four days that a scan looks back."""

_FIT_PASSES = 2000
"""Sweeps over all pairs of weights; the last ones move less than 1e-6 on the shipped curves."""


class DelayCurve:
    """``weights[k]`` of the reactions come with time constant ``taus_min[k]``; immutable."""

    def __init__(self, weights: tuple[float, ...], taus_min: tuple[float, ...] = TAUS_MIN) -> None:
        if len(weights) != len(taus_min):
            raise ValueError(f"{len(weights)} weights for {len(taus_min)} time constants")
        if min(weights) < 0 or not 0.99 < fsum(weights) < 1.01:
            raise ValueError(f"weights are shares that add up to 1, got {weights}")
        self.weights = tuple(weights)
        self.taus_min = tuple(taus_min)

    @classmethod
    def shipped(cls, metric: str) -> DelayCurve:
        """The curve of a metric until one is fitted. Raises ``KeyError`` for a metric without one."""
        return _SHIPPED[_SHARED.get(metric, metric)]

    @classmethod
    def fit(cls, ages_min: Sequence[float], shares: Sequence[float]) -> DelayCurve:
        """The curve nearest to ``shares[i]`` of all reactions having come within ``ages_min[i]`` (least squares).

        Weights stay shares (none below 0, their sum 1), as mass only moves between pairs of them until no move helps.
        """
        if len(ages_min) != len(shares) or not ages_min:
            raise ValueError(f"{len(ages_min)} ages for {len(shares)} shares")
        taus = TAUS_MIN
        columns = [[-expm1(-age / tau) for age in ages_min] for tau in taus]
        weights = [1 / len(taus)] * len(taus)
        errors = [
            fsum(w * column[i] for w, column in zip(weights, columns, strict=True)) - share
            for i, share in enumerate(shares)
        ]
        pairs = [(i, j) for i in range(len(taus)) for j in range(i)]
        slopes = {(i, j): [a - b for a, b in zip(columns[i], columns[j], strict=True)] for i, j in pairs}
        for _ in range(_FIT_PASSES):
            moved = 0.0
            for i, j in pairs:
                slope = slopes[i, j]
                curvature = fsum(s * s for s in slope)
                if curvature == 0.0:
                    continue
                step = -fsum(s * e for s, e in zip(slope, errors, strict=True)) / curvature
                step = min(weights[j], max(-weights[i], step))
                if step:
                    weights[i] += step
                    weights[j] -= step
                    errors = [e + step * s for e, s in zip(errors, slope, strict=True)]
                    moved = max(moved, abs(step))
            if moved < 1e-6:
                break
        return cls(tuple(weights), taus)

    def share_within(self, age_min: float) -> float:
        """Share of all reactions that have come ``age_min`` after delivery."""
        return fsum(-w * expm1(-age_min / tau) for w, tau in zip(self.weights, self.taus_min, strict=True))

    def decay(self, bins: int) -> tuple[float, ...]:
        """By time constant: what is still to come of one delivery after ``bins`` bins."""
        return self._decays[bins] if bins < _TABLE else self._decay(bins)

    def due(self, bins: int) -> tuple[float, ...]:
        """By time constant: what has become due of one delivery within ``bins`` bins, weighted."""
        return self._dues[bins] if bins < _TABLE else self._due(bins)

    @cached_property
    def _decays(self) -> list[tuple[float, ...]]:
        return [self._decay(bins) for bins in range(_TABLE)]

    @cached_property
    def _dues(self) -> list[tuple[float, ...]]:
        return [self._due(bins) for bins in range(_TABLE)]

    def _decay(self, bins: int) -> tuple[float, ...]:
        return tuple(exp(-BIN_MIN * bins / tau) for tau in self.taus_min)

    def _due(self, bins: int) -> tuple[float, ...]:
        return tuple(-w * expm1(-BIN_MIN * bins / tau) for w, tau in zip(self.weights, self.taus_min, strict=True))


_SHIPPED = {metric: DelayCurve(weights) for metric, weights in _WEIGHTS.items()}
