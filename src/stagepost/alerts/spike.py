"""The spike detector: a gamma-Poisson likelihood ratio on sliding windows over an own baseline (alerts.md 2).

Law: a pure function of additive counts. The same multiset of ``observe`` calls gives the same verdicts, bit for bit.
May not contain: what is done about a spike (``lifecycle.py``), scopes, names of metrics beyond the shipped tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import NamedTuple

from msgspec import Struct

from stagepost.alerts.curves import BIN_MIN, DelayCurve
from stagepost.alerts.exposure import DAY, LATE_QUERY, Exposure, Series
from stagepost.alerts.prior import Prior

WINDOWS_MIN = {"15m": 15, "1h": 60, "4h": 240, "24h": 1440, "72h": 4320}

SHIPPED_VARIANCE = {"15m": 0.09, "1h": 0.11, "4h": 0.11, "24h": 0.07, "72h": 0.05}
"""v(w): how much a rate varies from send to send and hour to hour without anything being wrong (alerts.md 2.4)."""

THRESHOLD = 10.0
"""h until 28 days of own data exist (alerts.md 2.6)."""

EVENTS_TO_FIRE = 5
"""Fewer are never a spike, whatever their ratio (alerts.md 2.6)."""

_CLEARING = ("1h", "4h", "24h", "72h")
_CLEARING_EVIDENCE = 4.0
"""m (r - 1) that a window must expect before its quiet says anything (alerts.md 5)."""


class Rate(Struct, frozen=True, array_like=True):
    """A baseline rate ``p`` and the shape ``a`` of its posterior: the events that it rests on, prior ones included."""

    p: float
    a: float


class Baseline(Struct, frozen=True, array_like=True):
    """What was normal at a bin, by window."""

    rates: dict[str, Rate]


class Verdict(Struct, frozen=True, kw_only=True):
    """What the scan says of one bin: the window and ratio with the largest likelihood ratio, and their figures.

    ``expected`` = baseline_rate x exposure; ``ratio_observed`` = events/expected; ``excess`` = events - expected;
    ``variance`` = v(window) + 1/baseline_events. ``ratio`` is the tested one. With llr 0 the smallest window is shown.
    """

    llr: float
    window: str
    ratio: int
    events: int
    expected: float
    ratio_observed: float
    excess: float
    delivered: int
    exposure: float
    variance: float
    baseline_rate: float
    baseline_events: float
    fires: bool


class _Window(NamedTuple):
    name: str
    bins: int
    guard: int
    """Bins back from which the baseline may learn: what is judged must not be in it."""
    variance: float


class SpikeScan:
    """Watches one key (a metric of a scope).

    ``variance`` is v(w) by window name, shipped values where a name is missing; the curve is the metric's shipped one
    unless given. Bins are Unix seconds // 300. Raises ``ValueError`` for an unknown window, ``KeyError`` for a metric
    that has no shipped curve where none is given.
    """

    def __init__(
        self,
        metric: str,
        prior: Prior,
        variance: Mapping[str, float],
        threshold: float = THRESHOLD,
        windows: tuple[str, ...] = tuple(WINDOWS_MIN),
        ratios: tuple[int, ...] = (2, 4, 10),
        *,
        curve: DelayCurve | None = None,
        series: Series | None = None,
    ) -> None:
        unknown = set(windows) - WINDOWS_MIN.keys()
        if unknown or not windows or not ratios:
            raise ValueError(f"windows are of {', '.join(WINDOWS_MIN)}, ratios at least one; got {windows}, {ratios}")
        self.metric = metric
        self.prior = prior
        self.threshold = threshold
        self._ratios = tuple((ratio, log(ratio)) for ratio in ratios)
        chosen = [name for name in WINDOWS_MIN if name in windows]
        self._windows = tuple(_window(name, {**SHIPPED_VARIANCE, **variance}[name]) for name in chosen)
        self._clearing = tuple(_window(name, SHIPPED_VARIANCE[name]) for name in _CLEARING)
        everything = (*self._windows, *self._clearing)
        self._guards = tuple(
            (guard, tuple(dict.fromkeys(window.name for window in everything if window.guard == guard)))
            for guard in sorted({window.guard for window in everything})
        )
        self._data = Exposure(curve or DelayCurve.shipped(metric), series)

    @property
    def newest(self) -> int | None:
        """The newest bin with an observation."""
        return self._data.newest

    @property
    def first_exposure(self) -> int | None:
        """The earliest bin with a delivery."""
        return self._data.first

    def observe(self, bin: int, delivered: int, events: int) -> None:
        """Add to a bin. Additive, in any order; zeros may be left out."""
        self._data.add(bin, delivered, events)

    def statistic(self, bin: int, baseline: Baseline | None = None, *, since: int | None = None) -> Verdict:
        """The verdict on everything up to and including ``bin``, against a frozen baseline if one is given.

        ``bin`` is taken as no earlier than a day before the newest. ``since``: no window begins before the bin after
        it (the end of an incident that is over: its events are not news). Windows without observations count as zero.
        """
        data = self._data
        if data.newest is not None:
            bin = max(bin, data.newest - LATE_QUERY)
        frozen = self.baseline(bin) if baseline is None else baseline
        events_to, exposure_to = data.events_to(bin), data.exposure_to(bin)
        best, found = 0.0, None
        for window in self._windows:
            begin = bin - window.bins if since is None else max(bin - window.bins, min(since, bin))
            events = events_to - data.events_to(begin)
            # Without anything ever delivered there is no rate; without an event there is nothing to find.
            if (not events or not exposure_to) and found is not None:
                continue
            rate = frozen.rates[window.name]
            exposure = exposure_to - data.exposure_to(begin)
            expected = rate.p * exposure
            if found is None:
                found = (window, self._ratios[0][0], begin, events, exposure)
            if events <= expected or not exposure_to:
                continue
            variance = window.variance + 1 / rate.a
            calm, shape = log(1 + variance * expected), events + 1 / variance
            for ratio, log_ratio in self._ratios:
                llr = events * log_ratio - shape * (log(1 + variance * ratio * expected) - calm)
                if llr > best:
                    best, found = llr, (window, ratio, begin, events, exposure)
        assert found is not None
        window, ratio, begin, events, exposure = found
        rate = frozen.rates[window.name]
        expected = rate.p * exposure
        return Verdict(
            llr=best,
            window=window.name,
            ratio=ratio,
            events=events,
            expected=expected,
            ratio_observed=events / expected if expected else 0.0,
            excess=events - expected,
            delivered=data.delivered_between(begin, bin),
            exposure=exposure,
            variance=window.variance + 1 / rate.a,
            baseline_rate=rate.p,
            baseline_events=rate.a,
            fires=best >= self.threshold and events >= EVENTS_TO_FIRE,
        )

    def baseline(self, bin: int) -> Baseline:
        """Rates that are normal at ``bin``: the prior and all that is older than the guard of each window."""
        prior, rates = self.prior, {}
        for guard, names in self._guards:
            older = self._data.older_than(bin - guard, bin)
            shape = prior.shape + older.events
            rate = Rate(shape / (prior.rate + older.exposure), shape)
            for name in names:
                rates[name] = rate
        return Baseline(rates)

    def cleared(self, bin: int, baseline: Baseline, ratio: int) -> bool:
        """Whether ``ratio`` times the frozen baseline is refuted at ``bin``: X ln r <= (r - 1) m in the shortest of
        1, 4, 24 and 72 h with m (r - 1) >= 4, in 72 h where none expects that much."""
        events, expected = 0, 0.0
        for window in self._clearing:
            begin = bin - window.bins
            events = self._data.events_to(bin) - self._data.events_to(begin)
            expected = baseline.rates[window.name].p * (self._data.exposure_to(bin) - self._data.exposure_to(begin))
            if expected * (ratio - 1) >= _CLEARING_EVIDENCE:
                break
        return events * log(ratio) <= (ratio - 1) * expected

    def exposed(self, bin: int) -> float:
        """Exposure of the 72 h up to and including ``bin``."""
        return self._data.exposure_to(bin) - self._data.exposure_to(bin - 3 * DAY)

    def exclude(self, first_bin: int, last_bin: int) -> None:
        """Keep an incident's span out of the baseline. Called at firing and extended later, so that its beginning is
        still among the bins kept one by one."""
        self._data.exclude(first_bin, last_bin)

    def admit(self, first_bin: int, last_bin: int) -> None:
        """Let a span into the baseline after all: what has lasted a week is the new normal."""
        self._data.admit(first_bin, last_bin)

    def series(self) -> Series:
        """The counts as data, to be kept and given back as ``series``."""
        return self._data.series()

    def copy(self) -> SpikeScan:
        """An independent copy with the same answers."""
        other = SpikeScan.__new__(SpikeScan)
        other.__dict__.update(self.__dict__)
        other._data = self._data.copy()
        return other


def _window(name: str, variance: float) -> _Window:
    bins = WINDOWS_MIN[name] // BIN_MIN
    return _Window(name, bins, max(DAY, bins), variance)
