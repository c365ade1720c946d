"""The record on ``email.alerts``: the example of alerts.md 6, re-derived."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from stagepost.alerts.lifecycle import AlertReason, Change, Incident, Phase, Severity
from stagepost.alerts.record import (
    AlertRecord,
    AlertScope,
    Review,
    Surroundings,
    fingerprint,
    ratio_interval,
    rounded,
    spike_record,
)
from stagepost.alerts.spike import Baseline, Verdict
from stagepost.events import BIN, HOUR, parse_rfc3339

FIRED = parse_rfc3339("2026-05-04T09:35:00Z") // BIN
SCOPE = AlertScope("campaign", "c-123", domain="m.example.com", list="l-9", account="default")

VERDICT = Verdict(
    llr=12.4,
    window="4h",
    ratio=4,
    events=36,
    expected=6.6,
    ratio_observed=36 / 6.6,
    excess=29.4,
    delivered=41_000,
    exposure=12_900.0,
    variance=0.1219,
    baseline_rate=6.6 / 12_900,
    baseline_events=84.0,
    fires=True,
)


def change(status: Phase = Phase.FIRING, resolved_at: int | None = None) -> Change:
    incident = Incident(
        began_at=FIRED,
        started_at=FIRED - 19,
        fired_at=FIRED,
        fired=VERDICT,
        baseline=Baseline({}),
        since=None,
        rev=2,
        severity=Severity.WARNING,
        said_at=FIRED + 4,
        said_ratio=5.5,
        stepped_to=FIRED,
        resolved_at=resolved_at,
    )
    reason = AlertReason.ESCALATED if status is Phase.FIRING else AlertReason.CLEARED
    return Change(status, reason, incident, VERDICT, FIRED + 4)


KNOWN = Surroundings(
    watermark=parse_rfc3339("2026-05-04T09:58:00Z"),
    sources=("sendgrid", "ses"),
    first_send=FIRED - 19,
    review=Review(bounce_rate=0.011, unsubscribe_rate=0.004),
    threshold=10.0,
    prior_shape=3.4,
)


def test_a_record_has_the_form_and_the_figures_of_the_specification() -> None:
    fields = msgspec.json.decode(msgspec.json.encode(spike_record("", "complaint", SCOPE, change(), KNOWN)))
    print_ = hashlib.sha256(b"|spike|complaint|campaign|c-123").hexdigest()[:16]
    assert {
        "schema": "stagepost.alert/1",
        "fingerprint": print_,
        "incident_id": f"{print_}-2026-05-04T09:35Z",
        "rev": 2,
        "status": "firing",
        "reason": "escalated",
        "severity": "warning",
        "metric": "complaint",
        "rule": "spike",
        "scope": {
            "type": "campaign",
            "id": "c-123",
            "domain": "m.example.com",
            "list": "l-9",
            "account": "default",
        },
        "summary": "Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h",
        "started_at": "2026-05-04T08:00:00.000Z",
        "fired_at": "2026-05-04T09:35:00.000Z",
        "evaluated_to": "2026-05-04T10:00:00.000Z",
        "ends_at": None,
        "policy": None,
        "data": {
            "complete": False,
            "watermark": "2026-05-04T09:58:00.000Z",
            "late_allowed": "6h",
            "sources": ["sendgrid", "ses"],
        },
        "context": {
            "hint": [],
            "first_send": "2026-05-04T08:00:00.000Z",
            "review": {
                "subject": None,
                "deliveries_per_contact_7d": None,
                "bounce_rate": 0.011,
                "unsubscribe_rate": 0.004,
            },
        },
        "links": {"view": None, "runbook": None},
        "labels": {},
    } == {name: value for name, value in fields.items() if name != "evidence"}
    evidence = fields["evidence"]
    assert [4.1, 7.2] == [round(bound, 1) for bound in evidence.pop("ratio_ci90")]
    assert {
        "window": "4h",
        "events": 36,
        "expected": 6.6,
        "ratio": 5.45455,
        "excess": 29.4,
        "llr": 12.4,
        "threshold": 10.0,
        "ratio_tested": 4,
        "delivered": 41000,
        "exposure": 12900.0,
        "v": 0.1219,
        "baseline_rate": 0.000511628,
        "baseline_source": "key+prior",
        "baseline_events": 84.0,
        "false_alarms_per_1000_key_days": None,
    } == evidence


def test_a_resolved_record_says_when_and_why_it_ended() -> None:
    record = spike_record("", "complaint", SCOPE, change(Phase.RESOLVED, FIRED + 4), KNOWN)
    assert ("resolved", "cleared", "2026-05-04T10:00:00.000Z") == (record.status, record.reason, record.ends_at)
    assert "Complaints on c-123 cleared: 36 vs 6.6 in 4 h" == record.summary


def test_the_figures_are_complete_once_the_watermark_is_six_hours_past_them() -> None:
    settled = parse_rfc3339("2026-05-04T10:00:00Z") + 6 * HOUR
    for watermark, complete in ((settled - 1, False), (settled, True), (None, False)):
        known = msgspec.structs.replace(KNOWN, watermark=watermark)
        assert complete is spike_record("", "complaint", SCOPE, change(), known).data.complete


def test_a_record_reads_back_as_itself() -> None:
    record = spike_record("acme.", "unsubscribe", SCOPE, change(), KNOWN)
    assert record == msgspec.json.decode(msgspec.json.encode(record), type=AlertRecord)


def test_the_fingerprint_tells_installations_metrics_and_scopes_apart() -> None:
    prints = {
        fingerprint(prefix, "spike", metric, AlertScope(*scope))
        for prefix in ("", "acme.")
        for metric in ("complaint", "unsubscribe")
        for scope in (("campaign", "a"), ("campaign", "b"), ("account", "a"))
    }
    assert (12, {16}) == (len(prints), {len(print_) for print_ in prints})


@pytest.mark.parametrize(
    ("events", "low", "high"), [(0, 0.0, 3.0), (1, 0.05, 4.74), (10, 5.43, 16.96), (100, 84.1, 118.1)]
)
def test_the_interval_is_garwoods_within_a_percent_or_two(events: int, low: float, high: float) -> None:
    assert (pytest.approx(low, rel=0.02, abs=0.02), pytest.approx(high, rel=0.02)) == ratio_interval(events, 1.0)


def test_no_interval_without_expectation_and_six_significant_digits() -> None:
    assert (0.0, 0.0) == ratio_interval(3, 0.0)
    assert 0.000123457 == rounded(0.000123456789)
