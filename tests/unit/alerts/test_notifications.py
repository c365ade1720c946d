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
    NEWS,
    RECORD_LIMIT,
    REVISIONS_LIMIT,
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
from stagepost.events import MINUTE, Reason, Rejected, encode_json, parse_rfc3339

A, B, C = "aaaa-2026-05-04T09:35Z", "bbbb-2026-05-04T09:35Z", "cccc-2026-05-04T09:35Z"

ACCOUNT = {"type": "account", "id": "default"}
LIST = {"type": "list", "id": "l-9", "account": "default"}

NOW = parse_rfc3339("2026-05-04T12:00:00Z")
LONG_AGO = NOW - NEWS - 1


def alert(incident_id: str = A, rev: int = 1, status: str = "firing", **changes: Any) -> Alert:
    read = read_alert(alert_record(incident_id, rev, status, **changes))
    assert isinstance(read, Alert)
    return read


def sized(incident_id: str, excess: float, **changes: Any) -> Alert:
    return alert(incident_id, evidence={"excess": excess}, **changes)


def known(*alerts: Alert) -> Incidents:
    incidents = Incidents()
    for each in alerts:
        incidents.take(each, NOW, NOW)
    return incidents


def known_since(*alerts: tuple[int, Alert]) -> Incidents:
    """Read now, each with the broker time of its record."""
    incidents = Incidents()
    for stamped, each in alerts:
        incidents.take(each, stamped, NOW)
    return incidents


def all_told(incidents: Incidents, incident_id: str, told: Told | None = None, log_began: int = 0) -> list[int | Why]:
    """The revisions that a receiver gets one after the other, and why then no more."""
    revs: list[int | Why] = []
    while isinstance(decision := incidents.decide(incident_id, told, log_began), Notification):
        revs.append(decision.alert.rev)
        told = Told(decision.alert.rev, decision.alert.status)
    return [*revs, decision.reason]


def rev_of(decision: Notification | NotNotified) -> int | Why:
    return decision.alert.rev if isinstance(decision, Notification) else decision.reason


def test_every_revision_is_told_in_order_and_once() -> None:
    incidents = known(alert(rev=1), alert(rev=2), alert(rev=3, status="resolved"))
    assert [1, 2, 3, Why.ALREADY_SENT] == all_told(incidents, A)
    assert [3, Why.ALREADY_SENT] == all_told(incidents, A, Told(2, Phase.FIRING))
    assert Why.ALREADY_SENT == rev_of(incidents.decide(A, Told(4, Phase.RESOLVED)))


def test_an_incident_that_was_opened_again_is_told_with_both_its_ends() -> None:
    status = {1: "firing", 2: "resolved", 3: "firing", 4: "recovering", 5: "resolved"}
    incidents = known(*(alert(rev=rev, status=each) for rev, each in status.items()))
    assert [1, 2, 3, 5, Why.ALREADY_SENT] == all_told(incidents, A)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 3, 2, 1, 1)])
def test_in_whatever_order_revisions_are_read_they_are_told_in_theirs(order: tuple[int, ...]) -> None:
    incidents = known(*(alert(rev=rev, status="resolved" if rev == 3 else "firing") for rev in order))
    assert [1, 2, 3, Why.ALREADY_SENT] == all_told(incidents, A)
    assert {} == incidents.live()


def test_a_revision_that_is_read_again_changes_nothing() -> None:
    incidents = known(alert(rev=1), alert(rev=3, status="resolved"))
    assert (False, False) == tuple(incidents.take(each, NOW, NOW) for each in (alert(rev=3), alert(rev=1)))
    assert incidents.take(alert(rev=2), NOW, NOW)
    assert [1, 2, 3, Why.ALREADY_SENT] == all_told(incidents, A)


def test_what_the_receiver_refuses_does_not_stand_before_what_comes_after_it() -> None:
    incidents = known(alert(rev=1), alert(rev=2, status="resolved"))
    assert (1, 2, Why.ALREADY_SENT) == tuple(rev_of(incidents.decide(A, None, 0, rev)) for rev in (None, 1, 2))
    told = Told(1, Phase.FIRING)
    assert (2, Why.ALREADY_SENT) == (rev_of(incidents.decide(A, told, 0, 0)), rev_of(incidents.decide(A, told, 0, 2)))


def test_of_a_long_incident_the_newest_revisions_are_kept() -> None:
    incidents = known(*(alert(rev=rev) for rev in range(1, REVISIONS_LIMIT + 3)))
    assert not incidents.take(alert(rev=1), NOW, NOW)
    assert [*range(3, REVISIONS_LIMIT + 3), Why.ALREADY_SENT] == all_told(incidents, A)


@pytest.mark.parametrize(
    ("stamped", "expected"),
    [(NOW - NEWS, [1, 2, Why.ALREADY_SENT]), (LONG_AGO, [Why.NEVER_ANNOUNCED])],
)
def test_what_is_over_is_told_to_a_new_receiver_if_it_ended_within_the_hour(
    stamped: int, expected: list[int | Why]
) -> None:
    over = known_since((LONG_AGO - MINUTE, alert(rev=1)), (stamped, alert(rev=2, status="resolved")))
    assert expected == all_told(over, A)
    assert [2, Why.ALREADY_SENT] == all_told(over, A, Told(1, Phase.FIRING)), "the end of what was told always"


def test_what_was_known_in_time_is_told_however_long_the_receiver_was_away() -> None:
    incidents = known(alert(rev=1), alert(rev=2, status="resolved"))
    incidents.take(alert(B), NOW + 24 * NEWS, NOW + 24 * NEWS)
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, A)


def test_of_what_goes_on_a_new_receiver_is_told_what_is_news_or_else_the_newest() -> None:
    old, older = LONG_AGO, LONG_AGO - MINUTE
    assert [2, Why.ALREADY_SENT] == all_told(known_since((older, alert(rev=1)), (old, alert(rev=2))), A)
    assert [2, 3, Why.ALREADY_SENT] == all_told(
        known_since((old, alert(rev=1)), (NOW - MINUTE, alert(rev=2)), (NOW, alert(rev=3))), A
    )
    assert [1, 2, Why.ALREADY_SENT] == all_told(
        known_since((old, alert(rev=1)), (NOW, alert(rev=2))), A, Told(0, Phase.FIRING)
    )


def test_a_record_that_is_published_again_is_as_old_as_the_first_time() -> None:
    over = known_since(*((stamped, alert(status="resolved")) for stamped in (NOW, LONG_AGO, NOW)))
    assert Why.NEVER_ANNOUNCED == rev_of(over.decide(A, None))


def test_when_the_log_was_lost_the_newest_revision_of_what_goes_on_is_told_and_nothing_of_what_is_over() -> None:
    before = NOW - MINUTE
    incidents = known_since(
        *((before, alert(A, rev)) for rev in (1, 2)),
        *((before, alert(B, rev, status)) for rev, status in ((1, "firing"), (2, "resolved"))),
        *((stamped, alert(C, rev, status)) for stamped, rev, status in ((before, 1, "firing"), (NOW, 2, "resolved"))),
    )
    assert [2, Why.ALREADY_SENT] == all_told(incidents, A, log_began=NOW)
    assert [Why.NEVER_ANNOUNCED] == all_told(incidents, B, log_began=NOW)
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, C, log_began=NOW), "it ended after the loss"


def test_an_end_whose_beginning_is_not_known_any_more_is_told_only_alone() -> None:
    assert [2, Why.ALREADY_SENT] == all_told(known(alert(rev=2, status="resolved")), A)
    assert [3, Why.ALREADY_SENT] == all_told(known(alert(rev=2, status="resolved"), alert(rev=3)), A)


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
    assert NotNotified(Why.OVERTAKEN, later) == incidents.decide(A, Told(1, Phase.FIRING))
    incidents.take(alert(rev=3, status="resolved"), NOW, NOW)
    assert [2, 3, Why.ALREADY_SENT] == all_told(incidents, A, Told(1, Phase.FIRING)), "somebody said so after all"


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


def test_the_end_of_what_was_told_is_told_whatever_holds_it_back() -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 10.0), sized(B, 11.0, rev=2), alert(B, 3, "resolved"))
    assert [3, Why.ALREADY_SENT] == all_told(incidents, B, Told(1, Phase.FIRING))
    incidents.take(sized(B, 10.0, rev=4), NOW, NOW)
    assert [3, Why.PARENT] == all_told(incidents, B, Told(1, Phase.FIRING)), "and no more, when it begins again"


def test_when_it_is_no_longer_held_back_everything_is_told() -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 10.0), sized(B, 11.0, rev=2))
    assert [Why.PARENT] == all_told(incidents, B)
    incidents.take(alert(A, 2, "resolved", scope=ACCOUNT), NOW, NOW)
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, B)


def ended(incident_id: str, at: str | None, **changes: Any) -> Alert:
    return alert(incident_id, 2, "resolved", ends_at=at, **changes)


@pytest.mark.parametrize(
    ("parent_end", "expected", "named"),
    [
        (None, [Why.NEVER_ANNOUNCED], []),
        ("2026-05-04T12:00:00Z", [Why.NEVER_ANNOUNCED], []),
        ("2026-05-04T11:00:00Z", [Why.NEVER_ANNOUNCED], [B]),
        ("2026-05-04T10:55:00Z", [1, 2, Why.ALREADY_SENT], [B]),
    ],
)
def test_what_was_held_back_when_it_ended_stays_untold(
    parent_end: str | None, expected: list[int | Why], named: list[str]
) -> None:
    incidents = known(sized(A, 30.0, scope=ACCOUNT), sized(B, 10.0), ended(B, "2026-05-04T11:00:00Z"))
    assert [Why.NEVER_ANNOUNCED] == all_told(incidents, B), "the parent goes on, as far as is known"
    if parent_end is not None:
        incidents.take(ended(A, parent_end, scope=ACCOUNT), NOW, NOW)
    assert expected == all_told(incidents, B)
    told = incidents.decide(A, None)
    assert isinstance(told, Notification)
    assert named == [child.incident_id for child in told.top_children], "what it held back when it ended"


def test_what_began_after_it_had_ended_holds_nothing_back() -> None:
    later = "2026-05-04T11:05:00Z"
    over = ended(B, "2026-05-04T11:00:00Z")
    parent = sized(A, 30.0, scope=ACCOUNT, fired_at="2026-05-04T09:00:00Z")
    incidents = known(sized(B, 10.0), over, sized(A, 90.0, scope=ACCOUNT, fired_at=later))
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, B)
    assert [Why.NEVER_ANNOUNCED] == all_told(known(sized(B, 10.0), over, parent), B)
    culprit, whole = sized(C, 29.0, fired_at=later), ended(A, "2026-05-04T11:00:00Z", scope=ACCOUNT)
    incidents = known(sized(A, 30.0, scope=ACCOUNT), whole, culprit)
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, A)
    incidents.take(ended(C, "2026-05-04T12:00:00Z", fired_at=later), NOW, NOW)
    assert [1, 2, Why.ALREADY_SENT] == all_told(incidents, A)


def test_where_records_do_not_say_when_it_ended_the_broker_does() -> None:
    child_end, parent = ended(B, None), sized(A, 30.0, scope=ACCOUNT)
    for parent_end, expected in ((NOW, [Why.NEVER_ANNOUNCED]), (NOW - 2, [1, 2, Why.ALREADY_SENT])):
        incidents = known(parent, sized(B, 10.0))
        incidents.take(ended(A, None, scope=ACCOUNT), parent_end, NOW)
        incidents.take(child_end, NOW - 1, NOW)
        assert expected == all_told(incidents, B)


def test_of_incidents_that_are_over_somebody_is_told_whatever_held_back_whom() -> None:
    chosen = random.Random(11)
    for _ in range(300):
        incidents, ids = Incidents(), [f"{n:04x}-2026-05-04T09:35Z" for n in range(5)]
        for incident_id in ids:
            around = {"account": {}, "list": {"account": "1"}, "campaign": {"account": "1", "list": "1"}}
            kind = chosen.choice(list(around))
            scope = {"type": kind, "id": chosen.choice("12"), **around[kind]}
            fired_at = f"2026-05-04T09:{chosen.choice([10, 20])}:00Z"
            same = {"scope": scope, "fired_at": fired_at, "evidence": {"excess": chosen.choice([5.0, 7.0, 10.0])}}
            incidents.take(alert(incident_id, **same), NOW, NOW)
            incidents.take(ended(incident_id, f"2026-05-04T10:{chosen.choice([10, 20])}:00Z", **same), NOW, NOW)
        assert any(all_told(incidents, incident_id)[0] == 1 for incident_id in ids)


def test_memory_is_bounded_and_live_incidents_stay() -> None:
    incidents = Incidents(limit=20)
    for number in range(100):
        each = f"{number:02x}-2026-05-04T09:35Z"
        incidents.take(alert(each, status="firing" if number == 0 else "resolved"), NOW, NOW)
    assert 20 >= len(list(incidents.ids()))
    assert 1 == rev_of(incidents.decide("00-2026-05-04T09:35Z", None))
    assert 1 == rev_of(incidents.decide("63-2026-05-04T09:35Z", None))
    assert Why.UNKNOWN == rev_of(incidents.decide("01-2026-05-04T09:35Z", None))


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
        (alert_record(ends_at="tomorrow"), Reason.SCHEMA, "ends_at"),
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
