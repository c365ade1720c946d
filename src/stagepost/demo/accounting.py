"""The two sums of design.md 6, from the counters of the roles themselves.

Pure: text of ``/metrics`` in, numbers out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"stagepost_(\w+?)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Counters:
    """Counters of one role as of one moment: name without prefix, labels, value."""

    samples: tuple[tuple[str, Mapping[str, str], float], ...] = ()

    def total(self, name: str, **labels: str) -> int:
        """Sum over all samples of ``name`` whose labels contain ``labels``."""
        return round(
            sum(value for given, found, value in self.samples if given == name and labels.items() <= found.items())
        )


def read_counters(text: str) -> Counters:
    """The samples of a text in Prometheus' format that are ours and count something.

    >>> read_counters('stagepost_parts_total{outcome="in"} 3.0').total("parts_total", outcome="in")
    3
    """
    found = (_SAMPLE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return Counters(
        tuple(
            (match[1], dict(_LABEL.findall(match[2] or "")), float(match[3]))
            for match in found
            if match is not None and not match[1].endswith(("_created", "_bucket"))
        )
    )


@dataclass(frozen=True)
class Accounting:
    """What became of every part of a body and of every event, each in exactly one class."""

    parts: int
    """Parts of the bodies on ``email.raw``."""
    became_events: int
    rejected: int
    without_event: int
    taken: int
    """Events that ``journey`` read."""
    applied: int
    duplicates: int
    late: int
    suppressed: int
    test: int
    rerouted: int
    refused: int
    """Events that ``journey`` sent to its dead letters."""
    reasons: Mapping[str, int]
    """Of ``rejected`` and ``refused`` together, by reason."""

    @property
    def events(self) -> int:
        """Everything that came in as an event, readable or not; rerouted ones come in twice."""
        return self.taken + self.rejected

    @property
    def arrived(self) -> int:
        """What was published, as far as it has come in: parts and company events, each once."""
        return self.events - self.rerouted + self.without_event

    @property
    def dead_lettered(self) -> int:
        return self.rejected + self.refused

    @property
    def balanced(self) -> bool:
        """Whether both sums close. That the second reads what the first wrote is checked by whoever published."""
        classes = self.applied + self.duplicates + self.late + self.suppressed + self.test + self.rerouted
        return (
            self.parts == self.became_events + self.rejected + self.without_event
            and self.taken == classes + self.refused
        )


def account(normalise: Counters, journey: Counters) -> Accounting:
    """The accounting of one worker of each role."""

    def skipped(reason: str) -> int:
        return journey.total("events_skipped_total", reason=reason)

    reasons: Counter[str] = Counter()
    for counters in (normalise, journey):
        for name, labels, value in counters.samples:
            if name == "events_dead_lettered_total":
                reasons[labels["reason"]] += round(value)
    return Accounting(
        parts=normalise.total("parts_total", outcome="in"),
        became_events=normalise.total("parts_total", outcome="event"),
        rejected=normalise.total("parts_total", outcome="rejected"),
        without_event=normalise.total("parts_total", outcome="no_event"),
        taken=journey.total("events_in_total"),
        applied=journey.total("events_applied_total"),
        duplicates=skipped("duplicate"),
        late=skipped("late"),
        suppressed=skipped("suppressed"),
        test=skipped("test"),
        rerouted=journey.total("events_rerouted_total"),
        refused=journey.total("events_dead_lettered_total"),
        reasons=dict(sorted(reasons.items())),
    )
