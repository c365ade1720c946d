"""The alert record on ``email.alerts`` (alerts.md 6): frozen types, deterministic ids, a sentence with the figures.

Law: no address, no wall clock; a record is a function of the counts. (incident_id, rev) is the idempotency key.
May not contain: decisions; they are made in ``lifecycle.py``.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from stagepost.alerts.lifecycle import LATENESS, AlertReason, Change, Phase, Severity
from stagepost.alerts.spike import Verdict
from stagepost.events import BIN, rfc3339

SCHEMA = "stagepost.alert/1"

_NOUNS = {"complaint": "Complaints", "unsubscribe": "Unsubscribes", "bounce": "Hard bounces", "block": "Blocks"}

_Z90 = 1.6448536269514722
"""Normal quantile of a two-sided 90 % interval."""


class AlertScope(Struct, frozen=True):
    """What the alert is about; beside type and id what is known of where it belongs."""

    type: str
    id: str
    domain: str | None = None
    list: str | None = None
    account: str | None = None


class Evidence(Struct, frozen=True, kw_only=True):
    """A spike in figures, as of ``evaluated_to``: expected = baseline_rate x exposure, excess = events - expected."""

    window: str
    events: int
    expected: float
    ratio: float
    """Observed: events / expected."""
    ratio_ci90: tuple[float, float]
    excess: float
    llr: float
    threshold: float
    ratio_tested: int
    delivered: int
    exposure: float
    v: float
    """v(window) + 1 / baseline_events."""
    baseline_rate: float
    baseline_source: str
    baseline_events: float
    """Events that the baseline rests on, those of the prior included."""
    false_alarms_per_1000_key_days: float | None
    """Null until own data has calibrated it."""


class PolicyEvidence(Struct, frozen=True, kw_only=True):
    """The figures of a policy test: one limit, scope and send day."""

    limit: float
    cohort: str
    rate: float
    e_value: float
    observed: str


class DataState(Struct, frozen=True, kw_only=True):
    """How complete the counts were."""

    complete: bool
    """Whether nothing can change the figures any more: the watermark is 6 h past ``evaluated_to``."""
    watermark: str | None
    late_allowed: str
    sources: tuple[str, ...]


class Review(Struct, frozen=True, kw_only=True):
    """What is known for a review of the campaign (S57); null where nothing is."""

    subject: str | None = None
    deliveries_per_contact_7d: float | None = None
    bounce_rate: float | None = None
    unsubscribe_rate: float | None = None


class Context(Struct, frozen=True, kw_only=True):
    hint: tuple[str, ...]
    first_send: str | None
    review: Review


class Links(Struct, frozen=True):
    view: str | None = None
    runbook: str | None = None


class AlertRecord(Struct, frozen=True, kw_only=True):
    """One record of ``email.alerts``; one for each change of an incident."""

    schema: str = SCHEMA
    fingerprint: str
    incident_id: str
    rev: int
    status: str
    reason: AlertReason
    severity: Severity
    metric: str
    rule: str
    scope: AlertScope
    summary: str
    started_at: str
    fired_at: str
    evaluated_to: str
    ends_at: str | None
    evidence: Evidence | None
    policy: PolicyEvidence | None
    data: DataState
    context: Context
    links: Links = Links()
    labels: dict[str, str] = {}


class Surroundings(Struct, frozen=True, kw_only=True):
    """What is known beside the counts of the key when a change is told. ``watermark`` in micros, None: not known."""

    watermark: int | None
    sources: tuple[str, ...]
    first_send: int | None
    """Bin of the first delivery."""
    review: Review
    threshold: float
    prior_shape: float


def fingerprint(prefix: str, rule: str, metric: str, scope: AlertScope) -> str:
    """What makes two alerts the same alert; severity is not in it, or a change would look like a new one."""
    return hashlib.sha256("|".join((prefix, rule, metric, scope.type, scope.id)).encode()).hexdigest()[:16]


def incident_id(fingerprint: str, began_at: int) -> str:
    """The fingerprint and the bin that fired, to the minute.

    >>> incident_id("8f3a", 5926147)
    '8f3a-2026-05-03T21:35Z'
    """
    return f"{fingerprint}-{rfc3339(began_at * BIN)[:16]}Z"


def spike_record(prefix: str, metric: str, scope: AlertScope, change: Change, known: Surroundings) -> AlertRecord:
    """The record of ``change``. ``started_at`` and ``fired_at`` are beginnings of bins, other times their ends."""
    incident, verdict = change.incident, change.verdict
    print_ = fingerprint(prefix, "spike", metric, scope)
    settled_by = (change.bin + 1 + LATENESS) * BIN
    return AlertRecord(
        fingerprint=print_,
        incident_id=incident_id(print_, incident.began_at),
        rev=incident.rev,
        status=change.status.value,
        reason=change.reason,
        severity=incident.severity,
        metric=metric,
        rule="spike",
        scope=scope,
        summary=_summary(metric, scope, change),
        started_at=rfc3339(incident.started_at * BIN),
        fired_at=rfc3339(incident.began_at * BIN),
        evaluated_to=rfc3339((change.bin + 1) * BIN),
        ends_at=None if incident.resolved_at is None else rfc3339((incident.resolved_at + 1) * BIN),
        evidence=_evidence(verdict, known),
        policy=None,
        data=DataState(
            complete=known.watermark is not None and known.watermark >= settled_by,
            watermark=None if known.watermark is None else rfc3339(known.watermark),
            late_allowed="6h",
            sources=known.sources,
        ),
        context=Context(
            hint=(),
            first_send=None if known.first_send is None else rfc3339(known.first_send * BIN),
            review=known.review,
        ),
    )


def rounded(value: float) -> float:
    """Six significant digits: enough to derive one figure from the others, and readable."""
    return float(f"{value:.6g}")


def ratio_interval(events: int, expected: float) -> tuple[float, float]:
    """90 % interval of events/expected for a Poisson count (Garwood's limits in the form of Wilson and Hilferty, 1931).

    >>> [round(bound, 1) for bound in ratio_interval(36, 6.6)]
    [4.1, 7.2]
    """
    if not expected:
        return 0.0, 0.0
    low = events * (1 - 1 / (9 * events) - _Z90 / (3 * events**0.5)) ** 3 if events else 0.0
    more = events + 1
    high = more * (1 - 1 / (9 * more) + _Z90 / (3 * more**0.5)) ** 3
    return rounded(max(0.0, low) / expected), rounded(high / expected)


def _evidence(verdict: Verdict, known: Surroundings) -> Evidence:
    return Evidence(
        window=verdict.window,
        events=verdict.events,
        expected=rounded(verdict.expected),
        ratio=rounded(verdict.ratio_observed),
        ratio_ci90=ratio_interval(verdict.events, verdict.expected),
        excess=rounded(verdict.excess),
        llr=rounded(verdict.llr),
        threshold=known.threshold,
        ratio_tested=verdict.ratio,
        delivered=verdict.delivered,
        exposure=rounded(verdict.exposure),
        v=rounded(verdict.variance),
        baseline_rate=rounded(verdict.baseline_rate),
        baseline_source="key+prior" if verdict.baseline_events > known.prior_shape else "prior",
        baseline_events=rounded(verdict.baseline_events),
        false_alarms_per_1000_key_days=None,
    )


def _summary(metric: str, scope: AlertScope, change: Change) -> str:
    """``Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h``"""
    verdict, noun = change.verdict, _NOUNS.get(metric, metric)
    window = f"{verdict.window[:-1]} {'min' if verdict.window.endswith('m') else verdict.window[-1]}"
    figures = f"{verdict.events} vs {_short(verdict.expected)} in {window}"
    if change.status is Phase.RESOLVED:
        return f"{noun} on {scope.id} {change.reason}: {figures}"
    return f"{noun} {_short(verdict.ratio_observed)}x expected on {scope.id}: {figures}"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
