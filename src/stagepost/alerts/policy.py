"""The test of an absolute limit, such as a provider's 0.1 % complaints (alerts.md 4).

May not contain: baselines, windows. A cohort is one scope and send day; the caller keeps one test for each.
"""

from __future__ import annotations

from math import exp, fsum, log

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How far above the limit the true rate may lie; the test bets on all alike."""

_SURE = 700.0
"""A larger exponent would overflow a double, and is evidence enough."""


class PolicyTest:
    """Whether a cohort's rate is above ``limit`` (a share: 0.001), with at most ``alpha`` of false alarms.

    E = mean over r of exp(X ln r - (r - 1) p N). Ville: P(ever E >= 1/alpha) <= alpha if the true rate is <= p,
    however often one looks. Its state is (N, X), so order does not matter. A test that fired stays fired.
    """

    def __init__(self, limit: float, alpha: float = 0.01) -> None:
        if not 0 < limit < 1 or not 0 < alpha < 1:
            raise ValueError(f"limit and alpha are shares between 0 and 1, got {limit} and {alpha}")
        self.limit = limit
        self.alpha = alpha
        self.delivered = 0
        self.events = 0
        self._fired = False

    def observe(self, delivered: int, events: int) -> None:
        """Add deliveries of the cohort, and events of that cohort whenever they came."""
        self.delivered += delivered
        self.events += events
        self._fired = self._fired or self.e_value >= 1 / self.alpha

    @property
    def e_value(self) -> float:
        expected = self.limit * self.delivered
        exponents = [self.events * log(ratio) - (ratio - 1) * expected for ratio in RATIOS]
        return fsum(exp(min(exponent, _SURE)) for exponent in exponents) / len(RATIOS)

    @property
    def fires(self) -> bool:
        return self._fired
