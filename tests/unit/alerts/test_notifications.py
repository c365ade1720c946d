"""Which revision is told to whom and why not, and the texts of it."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from tests.listeners import alert_fields, alert_record

from stagepost.alerts.lifecycle import Phase
from stagepost.alerts.notifications import (
    RECORD_LIMIT,
    Alert,
    Incidents,
    Notification,
    NotNotified,
    Told,
    Why,
    headline,
    inhibitions,
    lines,
    pagerduty_event,
    read_alert,
    webhook_body,
)
from stagepost.alerts.record import AlertRecord
from stagepost.events import Reason, Rejected, encode_json

A, B, C = "aaaa-2026-05-04T09:35Z", "bbbb-2026-05-04T09:35Z", "cccc-2026-05-04T09:35Z"

ACCOUNT = {"type": "account", "id": "default"}
LIST = {"type": "list", "id": "l-9", "account": "default"}


def alert(incident_id: str = A, rev: int = 1, status: str = "firing", **changes: Any) -> Alert:
    read = read_alert(alert_record(incident_id, rev, status, **changes))
    assert isinstance(read, Alert)
    return read


def sized(incident_id: str, excess: float, **changes: Any) -> Alert:
    return alert(incident_id, evidence={"excess": excess}, **changes)


def known(*alerts: Alert) -> Incidents:
    incidents = Incidents()
    for each in alerts:
        incidents.take(each)
    return incidents


def rev_of(decision: Notification | NotNotified) -> int | Why:
    return decision.alert.rev if isinstance(decision, Notification) else decision.reason


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, 2),
        (Told(1, Phase.FIRING), 2),
        (Told(2, Phase.FIRING), Why.ALREADY_SENT),
        (Told(3, Phase.RESOLVED), Why.ALREADY_SENT),
    ],
)
def test_the_newest_firing_revision_is_told_to_who_does_not_have_it(told: Told | None, expected: int | Why) -> None:
    assert expected == rev_of(known(alert(rev=1), alert(rev=2)).decide(A, told))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, Why.NEVER_ANNOUNCED),
        (Told(1, Phase.FIRING), 3),
        (Told(2, Phase.RESOLVED), 3),
        (Told(3, Phase.RESOLVED), Why.ALREADY_SENT),
    ],
)
def test_the_end_is_told_to_who_heard_of_the_beginning(told: Told | None, expected: int | Why) -> None:
    assert expected == rev_of(known(alert(rev=1), alert(rev=3, status="resolved")).decide(A, told))


def test_an_older_revision_that_is_read_again_changes_nothing() -> None:
    incidents = known(alert(rev=3, status="resolved"))
    assert (False, False) == (incidents.take(alert(rev=3, status="resolved")), incidents.take(alert(rev=1)))
    assert Why.NEVER_ANNOUNCED == rev_of(incidents.decide(A, None))


def test_while_it_recovers_the_firing_revision_is_still_told_and_no_more() -> None:
    incidents = known(alert(rev=1), alert(rev=2, status="recovering"))
    assert 1 == rev_of(incidents.decide(A, None))
    assert Why.ALREADY_SENT == rev_of(incidents.decide(A, Told(1, Phase.FIRING)))


def test_what_is_only_pending_is_told_to_nobody() -> None:
    assert Why.UNKNOWN == rev_of(known(alert(rev=1, status="pending")).decide(A, None))
    assert Why.UNKNOWN == rev_of(Incidents().decide(A, None))


def test_an_incident_without_an_end_is_over_when_a_later_one_has_its_fingerprint() -> None:
    later = "aaaa-2026-05-09T00:00Z"
    incidents = known(alert(), alert(later, fired_at="2026-05-09T00:00:00Z"), alert(rev=2))
    assert NotNotified(Why.OVERTAKEN, later) == incidents.decide(A, None)
    assert 1 == rev_of(incidents.decide(later, None))
    assert [later] == list(incidents.live())


def test_a_parent_holds_back_the_children_that_did_not_fire_before_it() -> None:
    early = "2026-05-04T09:30:00Z"
    incidents = known(
        sized(A, 30.0, scope=ACCOUNT),
        sized(B, 10.0),
        sized(C, 9.0, fired_at=early, scope={"type": "campaign", "id": "c-9", "account": "default"}),
    )
    assert NotNotified(Why.PARENT, A) == incidents.decide(B, None)
    told = incidents.decide(C, None)
    assert isinstance(told, Notification)
    assert (A, 0) == (told.parent_incident, told.inhibited)
    parent = incidents.decide(A, None)
    assert isinstance(parent, Notification)
    assert (1, [B]) == (parent.inhibited, [child.incident_id for child in parent.top_children])


def test_a_child_with_most_of_the_excess_is_told_instead_of_its_parent() -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 19.0))
    assert NotNotified(Why.CULPRIT, B) == incidents.decide(A, None)
    assert 1 == rev_of(incidents.decide(B, None))


def test_a_child_with_exactly_the_share_is_no_culprit() -> None:
    assert {B: NotNotified(Why.PARENT, A)} == inhibitions([sized(A, 30.0, scope=ACCOUNT), sized(B, 18.0)])


def test_a_critical_policy_alert_holds_back_the_spike_warning_of_its_scope() -> None:
    policy = alert(B, rule="policy", severity="critical")
    assert {A: NotNotified(Why.POLICY, B)} == inhibitions([alert(A), policy])
    assert {} == inhibitions([alert(A, severity="critical"), policy])
    assert {} == inhibitions([alert(A), alert(B, rule="policy", severity="warning")])
    assert {} == inhibitions([alert(A, metric="bounce"), policy])


def test_another_metric_or_another_scope_holds_back_nothing() -> None:
    other_list = {"type": "list", "id": "l-1", "account": "default"}
    assert {} == inhibitions([sized(A, 9.0), sized(B, 90.0, scope=other_list)])
    assert {} == inhibitions([sized(A, 9.0), sized(B, 90.0, scope=ACCOUNT, metric="bounce")])


def test_the_largest_parent_is_the_one_that_is_named() -> None:
    found = inhibitions([sized(A, 5.0), sized(B, 20.0, scope=LIST), sized(C, 90.0, scope=ACCOUNT)])
    assert {A: NotNotified(Why.PARENT, C), B: NotNotified(Why.PARENT, C)} == found


def test_somebody_is_always_told_whatever_holds_back_whom() -> None:
    chosen = random.Random(7)
    kinds = [{"type": kind, "id": id_} for kind in ("account", "domain", "list") for id_ in "12"]
    for _ in range(500):
        scopes = [
            {**kind, "account": chosen.choice("12"), **({"domain": "1"} if kind["type"] == "list" else {})}
            for kind in kinds
        ] + [
            {
                "type": "campaign",
                "id": f"c-{n}",
                **{name: chosen.choice("12") for name in ("account", "domain", "list")},
            }
            for n in range(4)
        ]
        live = [
            sized(f"{n:04x}-2026-05-04T09:35Z", chosen.choice([0.0, 3.0, 5.0, 7.0, 10.0, 16.0]), scope=scope)
            for n, scope in enumerate(chosen.sample(scopes, 7))
        ]
        assert len(inhibitions(live)) < len(live), [(each.scope, each.excess) for each in live]


def test_the_culprit_of_a_culprit_is_told_though_it_is_a_small_part_of_the_whole() -> None:
    found = inhibitions([sized(A, 50.0), sized(B, 70.0, scope=LIST), sized(C, 100.0, scope=ACCOUNT)])
    assert {B: NotNotified(Why.CULPRIT, A), C: NotNotified(Why.CULPRIT, B)} == found


def test_when_the_parent_is_over_the_child_is_told() -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 10.0))
    incidents.take(alert(A, 2, "resolved", scope=ACCOUNT))
    assert 1 == rev_of(incidents.decide(B, None))


def test_the_end_of_what_was_told_is_told_whatever_holds_it_back() -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 10.0), alert(B, 2, "resolved"))
    assert 2 == rev_of(incidents.decide(B, Told(1, Phase.FIRING)))


def test_memory_is_bounded_and_live_incidents_stay() -> None:
    incidents = Incidents(limit=20)
    for number in range(100):
        each = f"{number:02x}-2026-05-04T09:35Z"
        incidents.take(alert(each, status="firing" if number == 0 else "resolved"))
    assert 20 >= len(list(incidents.ids()))
    assert 1 == rev_of(incidents.decide("00-2026-05-04T09:35Z", None))
    assert Why.NEVER_ANNOUNCED == rev_of(incidents.decide("63-2026-05-04T09:35Z", None))


def test_the_record_that_rollup_writes_can_be_read() -> None:
    fields = alert_fields()
    fields["evidence"] |= {"ratio_ci90": [4.1, 7.2], "llr": 12.5, "threshold": 10.0, "ratio_tested": 4}
    fields["evidence"] |= {"exposure": 1.0, "v": 0.1, "baseline_rate": 0.1, "baseline_source": "prior"}
    fields["evidence"] |= {"baseline_events": 84, "false_alarms_per_1000_key_days": None}
    fields |= {"policy": None, "context": {"hint": [], "first_send": None, "review": {}}}
    fields["data"] = {"complete": False, "watermark": None, "late_allowed": "6h", "sources": []}
    record = msgspec.convert(fields, AlertRecord)
    read = read_alert(encode_json(record))
    assert isinstance(read, Alert)
    assert (A.replace("aaaa", "8f3a"), 29.4, {"type", "id", "domain", "list", "account"}) == (
        read.incident_id,
        read.excess,
        read.scope.keys(),
    )


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, Reason.UNDECODABLE, "empty value"),
        (b"", Reason.UNDECODABLE, "empty value"),
        (alert_record()[:-1], Reason.UNDECODABLE, "truncated"),
        (b"\xff", Reason.UNDECODABLE, ""),
        (b"[]", Reason.SCHEMA, "object"),
        (b"[" * 5000, Reason.OVERSIZE, "deep"),
        (alert_record(summary="x" * RECORD_LIMIT), Reason.OVERSIZE, "more than"),
        (alert_record(schema="stagepost.alert/2"), Reason.SCHEMA, "stagepost.alert/1"),
        (alert_record(rev=-1), Reason.SCHEMA, "$.rev"),
        (alert_record(status="secret@example.com"), Reason.SCHEMA, "$.status"),
        (alert_record(fired_at="yesterday"), Reason.SCHEMA, "fired_at"),
        (alert_record("a-b\r\nx-header: 1"), Reason.SCHEMA, "incident_id"),
        (alert_record(fingerprint="a b"), Reason.SCHEMA, "fingerprint"),
        (alert_record(evidence={"excess": 10**400}), Reason.SCHEMA, "$.evidence.excess"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_a_place(value: bytes | None, reason: Reason, detail: str) -> None:
    read = read_alert(value)
    assert isinstance(read, Rejected)
    assert reason == read.reason
    assert detail in read.detail
    assert "secret" not in read.detail


def test_the_webhook_has_the_record_and_what_notifications_add() -> None:
    child = known(sized(A, 30.0, scope=ACCOUNT, invented_later=1), sized(B, 10.0)).decide(A, None)
    assert isinstance(child, Notification)
    body = json.loads(webhook_body(child))
    added = {
        "idempotency_key": f"{A}:1",
        "top_children": [
            {"incident_id": B, "scope": alert_fields()["scope"], "summary": alert_fields()["summary"]},
        ],
        "inhibited": 1,
        "parent_incident": None,
    }
    assert {**alert_fields(A, scope=ACCOUNT, evidence={"excess": 30.0}), "invented_later": 1, **added} == body


def test_pagerduty_gets_the_incident_as_its_key_and_the_evidence() -> None:
    event = json.loads(pagerduty_event(Notification(alert(severity="critical")), "R0UT1NG"))
    assert {
        "routing_key": "R0UT1NG",
        "event_action": "trigger",
        "dedup_key": A,
        "client": "stagepost",
        "payload": {
            "summary": "Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h",
            "source": "c-123",
            "severity": "critical",
            "timestamp": "2026-05-04T09:35:00Z",
            "class": "complaint",
            "component": "campaign",
            "group": "m.example.com",
            "custom_details": alert_fields()["evidence"],
        },
        "links": [{"href": "https://stagepost.example/alerts", "text": "view"}],
    } == event


def test_pagerduty_closes_the_same_key() -> None:
    event = json.loads(pagerduty_event(Notification(alert(rev=2, status="resolved")), "R0UT1NG"))
    assert ("resolve", A) == (event["event_action"], event["dedup_key"])


def test_pagerduty_cuts_a_long_summary_and_takes_the_domain_of_a_domain() -> None:
    scope = {"type": "domain", "id": "m.example.com"}
    event = json.loads(pagerduty_event(Notification(alert(summary="x" * 2000, scope=scope)), "k"))
    assert (1024, "m.example.com") == (len(event["payload"]["summary"]), event["payload"]["group"])


def test_the_message_in_words_says_what_can_be_derived_again() -> None:
    told = known(
        alert(A, scope=ACCOUNT, evidence={"window": "4h", "events": 36, "expected": 6.6, "excess": 29.4}),
        sized(B, 10.0, summary="Complaints 4x expected on c-123"),
    ).decide(A, None)
    assert isinstance(told, Notification)
    assert "FIRING (warning): Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h" == headline(told)
    assert (
        "complaint on account default, by spike",
        "36 events, 6.6 expected, in 4h",
        "since 2026-05-04T08:00:00Z",
        "holds back 1 smaller alerts:",
        "- Complaints 4x expected on c-123",
        "view: https://stagepost.example/alerts",
        f"incident {A}, revision 1, escalated",
    ) == lines(told)


def test_the_message_of_the_end_says_from_when_to_when() -> None:
    over = Notification(alert(rev=2, status="resolved", reason="cleared", ends_at="2026-05-04T12:00:00Z"))
    assert headline(over).startswith("RESOLVED: ")
    assert "since 2026-05-04T08:00:00Z until 2026-05-04T12:00:00Z" in lines(over)
