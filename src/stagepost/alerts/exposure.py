"""Cumulative exposure and events of one key by bin: the additive sums that a scan is computed from.

Law: the same multiset of additions gives the same bits. Events and deliveries are integers; exposure is computed only
along the chain of bins with deliveries, from the earliest on, so neither the order of additions nor the bins asked for
take part in the arithmetic. What is older than KEEP bins is folded into sums; an addition to that part (more than four
days late) is right but not in the last bit.
May not contain: rates, priors, thresholds.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from math import fsum
from operator import mul

from msgspec import Struct, field

from stagepost.alerts.curves import DelayCurve

DAY = 288
"""Bins of a day."""

LATE_QUERY = DAY
"""A scan may be asked for any bin from a day before the newest on."""

KEEP = 72 * 12 + LATE_QUERY + 72
"""Bins kept one by one: the longest window, a query of the day before, and the 6 h of lateness that alerts allow."""

HORIZON = 28 * DAY
"""Bins that a baseline looks back: a key's habits of another season say little (alerts.md 2.3)."""


class Sums(Struct, frozen=True, array_like=True):
    """Events, and deliveries whose reaction was due."""

    events: int
    exposure: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.events + other.events, self.exposure + other.exposure)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.events - other.events, self.exposure - other.exposure)


NOTHING = Sums(0, 0.0)


class Series(Struct, frozen=True, array_like=True):
    """``Exposure`` as data. Cells are bin to count; ``modes`` are what is still to come, by time constant."""

    newest: int | None = None
    first: int | None = None
    base_bin: int | None = None
    base_exposure: float = 0.0
    base_modes: tuple[float, ...] = ()
    base_events: int = 0
    marks: dict[int, Sums] = field(default_factory=dict)
    """Sums of everything before a bin that is folded: for each day, and for the edges of excluded spans."""
    excluded: tuple[tuple[int, int], ...] = ()
    delivered: dict[int, int] = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=dict)


class Exposure:
    """Adds deliveries and events by bin, answers with sums up to and including a bin."""

    def __init__(self, curve: DelayCurve, series: Series | None = None) -> None:
        self._curve = curve
        kept = series or Series()
        self._newest = kept.newest
        self._first = kept.first
        self._base_bin = kept.base_bin
        self._base_exposure = kept.base_exposure
        self._base_modes = kept.base_modes or (0.0,) * len(curve.taus_min)
        self._base_events = kept.base_events
        self._marks = dict(kept.marks)
        self._excluded = kept.excluded
        self._delivered = dict(kept.delivered)
        self._events = dict(kept.events)
        self._bins = sorted(self._delivered)
        self._chain: list[tuple[float, tuple[float, ...], int]] = []
        """For the first ``len(_chain)`` of ``_bins``: exposure before the bin, modes and deliveries after its own."""
        self._event_bins = sorted(self._events)
        self._event_sums: list[int] = []

    @property
    def newest(self) -> int | None:
        """The newest bin with an observation."""
        return self._newest

    @property
    def first(self) -> int | None:
        """The earliest bin with a delivery."""
        return self._first

    def copy(self) -> Exposure:
        """An independent copy that has the computed part of the chain too."""
        other = Exposure.__new__(Exposure)
        other.__dict__.update(self.__dict__)
        for name in ("_bins", "_chain", "_event_bins", "_event_sums"):
            setattr(other, name, list(getattr(self, name)))
        for name in ("_marks", "_delivered", "_events"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def series(self) -> Series:
        """Everything, as data; ``Exposure(curve, series)`` gives the same sums bit for bit."""
        if self._newest is not None:
            self._fold(self._newest - KEEP)
        return Series(
            newest=self._newest,
            first=self._first,
            base_bin=self._base_bin,
            base_exposure=self._base_exposure,
            base_modes=self._base_modes if self._base_bin is not None else (),
            base_events=self._base_events,
            marks={bin_: self._marks[bin_] for bin_ in sorted(self._marks)},
            excluded=self._excluded,
            delivered={bin_: self._delivered[bin_] for bin_ in self._bins},
            events={bin_: self._events[bin_] for bin_ in self._event_bins},
        )

    def add(self, bin_: int, delivered: int, events: int) -> None:
        if not delivered and not events:
            return
        if self._newest is None or bin_ > self._newest:
            day_began = self._newest is not None and (self._newest - KEEP) // DAY < (bin_ - KEEP) // DAY
            self._newest = bin_
            if day_began:
                self._fold(bin_ - KEEP)
        if delivered and (self._first is None or bin_ < self._first):
            self._first = bin_
        if bin_ <= self._newest - KEEP:
            self._fold(self._newest - KEEP)
            self._add_to_base(bin_, delivered, events)
            return
        if delivered:
            at = _put(self._delivered, self._bins, bin_, delivered)
            del self._chain[at:]
        if events:
            at = _put(self._events, self._event_bins, bin_, events)
            del self._event_sums[at:]

    def events_to(self, bin_: int) -> int:
        """Events in all bins up to and including ``bin_``."""
        sums, bins = self._event_sums, self._event_bins
        if len(sums) < len(bins):
            for missing in bins[len(sums) :]:
                sums.append((sums[-1] if sums else self._base_events) + self._events[missing])
        at = bisect_right(bins, bin_)
        return sums[at - 1] if at else self._base_events

    def exposure_to(self, bin_: int) -> float:
        """Deliveries whose reaction was due up to and including ``bin_``."""
        at = bisect_right(self._bins, bin_)
        if not at:
            if self._base_bin is None or bin_ < self._base_bin:
                return self._base_exposure
            return self._base_exposure + fsum(map(mul, self._base_modes, self._curve.due(bin_ - self._base_bin + 1)))
        chain = self._chain
        before, modes, _ = chain[at - 1] if at <= len(chain) else self._link(at - 1)
        return before + fsum(map(mul, modes, self._curve.due(bin_ - self._bins[at - 1] + 1)))

    def delivered_between(self, after: int, to: int) -> int:
        """Deliveries in the bins after ``after``, up to and including ``to``."""
        low, high = bisect_right(self._bins, after), bisect_right(self._bins, to)
        if not high:
            return 0
        return self._link(high - 1)[2] - (self._link(low - 1)[2] if low else 0)

    def older_than(self, bin_: int, asked: int) -> Sums:
        """What a baseline may learn from: everything up to and including ``bin_``, no excluded span, and nothing older
        (to the day) than the horizon of ``asked``."""
        horizon = (asked - HORIZON) // DAY * DAY
        found = Sums(self.events_to(bin_), self.exposure_to(bin_)) - self._marks.get(horizon, NOTHING)
        for first, last in self._excluded:
            if first <= bin_ and last >= horizon:
                found -= self._before(min(last, bin_) + 1) - self._before(max(first, horizon))
        return found

    def exclude(self, first: int, last: int) -> None:
        """Keep a span out of baselines; spans that meet become one. ``first`` has to be among the kept bins, or the
        edge of a span already excluded: of an older one only the kept part is left out."""
        apart = [span for span in self._excluded if span[1] < first - 1 or span[0] > last + 1]
        meeting = [span for span in self._excluded if span not in apart] + [(first, last)]
        whole = (min(span[0] for span in meeting), max(span[1] for span in meeting))
        self._excluded = tuple(sorted([*apart, whole]))

    def admit(self, first: int, last: int) -> None:
        """Let excluded spans that meet this one into the baseline again."""
        self._excluded = tuple(span for span in self._excluded if span[1] < first or span[0] > last)

    def _before(self, bin_: int) -> Sums:
        mark = self._marks.get(bin_)
        return mark if mark is not None else Sums(self.events_to(bin_ - 1), self.exposure_to(bin_ - 1))

    def _link(self, at: int) -> tuple[float, tuple[float, ...], int]:
        """The chain's element for the delivery bin of index ``at``; the chain is computed as far as needed."""
        chain, bins, curve = self._chain, self._bins, self._curve
        while len(chain) <= at:
            here = len(chain)
            count = self._delivered[bins[here]]
            if here:
                before, modes, delivered = chain[-1]
                gap = bins[here] - bins[here - 1]
            elif self._base_bin is not None:
                before, modes, delivered = self._base_exposure, self._base_modes, 0
                gap = bins[0] - self._base_bin
            else:
                chain.append((0.0, (float(count),) * len(curve.taus_min), count))
                continue
            before += fsum(map(mul, modes, curve.due(gap)))
            modes = tuple(mode * left + count for mode, left in zip(modes, curve.decay(gap), strict=True))
            chain.append((before, modes, delivered + count))
        return chain[at]

    def _fold(self, upto: int) -> None:
        """Move the bins up to ``upto`` into the base, with a mark for each day's end that is passed."""
        self._set_marks(upto)
        at = bisect_right(self._event_bins, upto)
        if at:
            self._base_events = self.events_to(upto)
            for bin_ in self._event_bins[:at]:
                del self._events[bin_]
            del self._event_bins[:at], self._event_sums[:at]
        at = bisect_right(self._bins, upto)
        if at:
            self._base_exposure, self._base_modes, folded = self._link(at - 1)
            self._base_bin = self._bins[at - 1]
            for bin_ in self._bins[:at]:
                del self._delivered[bin_]
            self._chain = [(before, modes, delivered - folded) for before, modes, delivered in self._chain[at:]]
            del self._bins[:at]

    def _set_marks(self, upto: int) -> None:
        """Remember the sums before each day and before each edge of a span, as far as they are folded now."""
        today = upto // DAY * DAY
        oldest = today - HORIZON - 2 * DAY
        self._excluded = tuple(span for span in self._excluded if span[1] >= oldest)
        edges = {edge for first, last in self._excluded for edge in (first, last + 1) if edge <= upto}
        if self._first is not None:
            known = max((bin_ for bin_ in self._marks if bin_ % DAY == 0), default=self._first // DAY * DAY)
            edges.update(range(max(known + DAY, oldest), today + 1, DAY))
        for edge in sorted(edges - self._marks.keys()):
            self._marks[edge] = Sums(self.events_to(edge - 1), self.exposure_to(edge - 1))
        for edge in [bin_ for bin_ in self._marks if bin_ < oldest]:
            del self._marks[edge]

    def _add_to_base(self, bin_: int, delivered: int, events: int) -> None:
        self._base_events += events
        self._event_sums.clear()
        if delivered:
            self._chain.clear()
            if self._base_bin is None:
                self._base_bin = bin_
            if bin_ >= self._base_bin:
                gap = bin_ - self._base_bin
                self._base_exposure += fsum(map(mul, self._base_modes, self._curve.due(gap)))
                left = self._curve.decay(gap)
                self._base_modes = tuple(m * k + delivered for m, k in zip(self._base_modes, left, strict=True))
                self._base_bin = bin_
            else:
                gap = self._base_bin - bin_
                self._base_exposure += delivered * fsum(self._curve.due(gap))
                left = self._curve.decay(gap)
                self._base_modes = tuple(m + delivered * k for m, k in zip(self._base_modes, left, strict=True))
        for edge in self._marks:
            if edge > bin_:
                self._marks[edge] += Sums(events, delivered * fsum(self._curve.due(edge - bin_)))


def _put(cells: dict[int, int], bins: list[int], bin_: int, count: int) -> int:
    """Add to a cell and return its index in the sorted ``bins``; nothing that was computed before it changes."""
    if bin_ in cells:
        cells[bin_] += count
        return bisect_right(bins, bin_) - 1
    cells[bin_] = count
    if not bins or bin_ > bins[-1]:
        bins.append(bin_)
        return len(bins) - 1
    insort(bins, bin_)
    return bisect_right(bins, bin_) - 1
