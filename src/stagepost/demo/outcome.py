"""What a run of the demo showed, checked against what was planted; as JSON and as text.

Pure. The verdict: both sums close, every planted malformed record is a dead letter with its reason, and no campaign but
the planted ones fired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stagepost.demo.accounting import Accounting
from stagepost.demo.results import Incident
from stagepost.demo.traffic import COMPLAINT_CAMPAIGN, UNSUBSCRIBE_CAMPAIGN, Planted
from stagepost.engine.plan import Topic
from stagepost.events import rfc3339
from stagepost.journey.simulate import FunnelRow
from stagepost.wording import counted

PLANTED_SPIKES = {("complaint", COMPLAINT_CAMPAIGN), ("unsubscribe", UNSUBSCRIBE_CAMPAIGN)}
"""Metric and campaign."""


@dataclass(frozen=True)
class Outcome:
    """Numbers of one run. ``published_events``: events on both input topics, by what the player sent."""

    seconds: float
    raw_in: int
    published_events: int
    accounting: Accounting
    kinds: Mapping[str, int]
    funnel: Mapping[str, Sequence[FunnelRow]]
    alerts: Sequence[Incident]
    metrics_windows: int
    dead_letters: Counter[tuple[Topic, str]]
    planted: Planted
    campaigns: Mapping[str, int]
    """By name, when each began (micros)."""
    complete: bool
    """Whether the whole history was played."""
    latencies_s: Sequence[float] = field(default=())
    """From the publication of an event to the record of the move that it caused."""
    restarts: Sequence[str] = ()
    """Roles that ended and were started again."""
    played_to: int | None = None
    """Event time up to which was played, micros; None: to the end."""

    @property
    def balanced(self) -> bool:
        """Both sums close, and everything that was published has arrived in them."""
        return self.accounting.balanced and self.accounting.arrived == self.published_events

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the demo failed; empty when it did not."""
        found = []
        if not self.balanced:
            found.append(
                f"the sums do not close: {self.published_events:,} events were published, "
                f"{self.accounting.arrived:,} are accounted for"
            )
        malformed = Counter({(topic, str(reason)): n for (topic, reason), n in self.planted.malformed.items()})
        for topic, reason in sorted({*malformed, *self.dead_letters}):
            expected, actual = malformed[topic, reason], self.dead_letters[topic, reason]
            if expected != actual:
                found.append(f"dead letters of {topic} for {reason}: {expected} planted, {actual} found")
        for alert in self.alerts:
            if (alert.metric, alert.scope_id) not in PLANTED_SPIKES:
                found.append(f"{alert.metric} fired on {alert.scope_type} {alert.scope_id}, where nothing was planted")
        return tuple(found)

    def as_json(self) -> dict[str, Any]:
        """The object of experience.md 1.1; keys are only ever added."""
        sums = self.accounting
        return {
            "seconds": round(self.seconds, 1),
            "raw_in": self.raw_in,
            "events": sums.events,
            "applied": sums.applied,
            "duplicates": sums.duplicates,
            "late": sums.late,
            "suppressed": sums.suppressed,
            "dead_lettered": sums.dead_lettered,
            "balanced": self.balanced,
            "transitions": dict(self.kinds),
            "funnel": {
                journey: {row.place: {"now": row.now, "reached": row.reached} for row in rows}
                for journey, rows in self.funnel.items()
            },
            "alerts": [
                {
                    "metric": alert.metric,
                    "scope": {"type": alert.scope_type, "id": alert.scope_id},
                    "status": alert.status,
                    "severity": alert.severity,
                }
                for alert in self.alerts
            ],
            "metrics_windows": self.metrics_windows,
            "planted": {
                "malformed": self.planted.malformed.total(),
                "duplicated": self.planted.duplicated,
                "late": self.planted.late,
                "complaint_campaign": COMPLAINT_CAMPAIGN,
                "unsubscribe_campaign": UNSUBSCRIBE_CAMPAIGN,
            },
            "parts": sums.parts,
            "rerouted": sums.rerouted,
            "dead_letters": {f"{topic} {reason}": n for (topic, reason), n in sorted(self.dead_letters.items())},
            "latency": {"median_s": self._quantile(0.5), "p95_s": self._quantile(0.95)},
            "complete": self.complete,
            "restarts": list(self.restarts),
            "problems": list(self.problems),
        }

    def as_text(self) -> list[str]:
        """The summary for people, line by line."""
        return [
            *self._sums(),
            *(line for journey, rows in self.funnel.items() for line in _funnel(journey, rows)),
            "moves      " + "  ".join(f"{kind} {n:,}" for kind, n in sorted(self.kinds.items())),
            *self._spikes(),
            f"dead       {_by_reason(self.dead_letters)} ({self.planted.malformed.total()} planted)",
            *self._latency(),
            *(f"restart    {role} ended and was started again" for role in self.restarts),
            *(f"PROBLEM    {problem}" for problem in self.problems),
        ]

    def _sums(self) -> list[str]:
        sums = self.accounting
        classes = {
            "applied": sums.applied,
            "duplicate": sums.duplicates,
            "late": sums.late,
            "suppressed": sums.suppressed,
            "rerouted": sums.rerouted,
            "dead-lettered": sums.dead_lettered,
        }
        shown = " + ".join(f"{n:,} {name}" for name, n in classes.items() if n or name != "rerouted")
        verdict = "the sums close" if self.balanced else "THE SUMS DO NOT CLOSE"
        return [
            f"input      {counted(self.raw_in, 'webhook post')} with {counted(sums.parts, 'part')}, "
            f"{counted(self.published_events - sums.parts, 'company event')}",
            f"accounting {sums.events:,} = {shown}: {verdict}",
            f"planted    {self.planted.malformed.total()} malformed, "
            f"{counted(self.planted.duplicated, 'event')} delivered twice, {self.planted.late} late",
        ]

    def _spikes(self) -> list[str]:
        lines = []
        for metric, campaign in sorted(PLANTED_SPIKES):
            sent = f"{metric} spike planted in {campaign}, sent from {rfc3339(self.campaigns[campaign])[:16]}Z"
            fired = [a for a in self.alerts if (a.metric, a.scope_id) == (metric, campaign)]
            told = ", ".join(f"fired {(a.fired_at or '')[:16]}Z, now {a.status}: {a.summary}" for a in fired)
            stopped = self.played_to
            if stopped is not None and stopped <= self.campaigns[campaign]:
                told = f"not sent yet: stopped at {rfc3339(stopped)[:16]}Z"
            lines.append(f"alerts     {sent}; {told or 'has not fired'}")
        return lines

    def _latency(self) -> list[str]:
        if not self.latencies_s:
            return []
        return [
            f"latency    webhook published to transition written: median {self._quantile(0.5)} s, "
            f"95 % within {self._quantile(0.95)} s ({counted(len(self.latencies_s), 'move')})"
        ]

    def _quantile(self, share: float) -> float | None:
        ordered = sorted(self.latencies_s)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


def _funnel(journey: str, rows: Sequence[FunnelRow]) -> list[str]:
    lines = [f"funnel     {journey:<24}{'now':>8}{'reached':>10}"]
    return lines + [
        f"           {'  ' * (row.kind != 'stage') + row.place:<24}{row.now:>8,}{row.reached:>10,}" for row in rows
    ]


def _by_reason(letters: Counter[tuple[Topic, str]]) -> str:
    reasons: Counter[str] = Counter()
    for (_, reason), n in letters.items():
        reasons[reason] += n
    return ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items())) or "no dead letters"
