"""SendGrid: every documented type and its sub-types, ids, identity, machines, from payloads written for the tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagepost.events import HOUR, MICROS, Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise
from stagepost.normalise.sendgrid import TYPES

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
AT = RECEIVED // MICROS - 300

BASE: dict[str, Any] = {
    "email": "ann@example.com",
    "timestamp": AT,
    "event": "delivered",
    "sg_event_id": "ZGVsaXZlcmVkLTAtMTIz",
    "sg_message_id": "msg1.recvd-abc-1-66A1B2C3-4.0",
    "contact_id": "c-1",
}


def convert(*parts: object, account: AccountConfig | None = None, body: bytes | None = None) -> Normalised:
    made = json.dumps(parts).encode() if body is None else body
    return normalise(Post(provider="sendgrid", account="default", body=made, headers={}, received_at=RECEIVED), account)


def one(account: AccountConfig | None = None, **changes: Any) -> Event:
    result = convert({k: v for k, v in {**BASE, **changes}.items() if v is not ...}, account=account)
    assert result.rejected == ()
    (event,) = result.events
    return event


GRID: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    # event, changes, type, sub-fields
    ("processed", {}, "email.sent", {}),
    (
        "deferred",
        {"response": "451 try later", "attempt": "3"},
        "email.deferred",
        {"attempt": 3, "reason": "451 try later"},
    ),
    ("delivered", {"response": "250 2.0.0 OK"}, "email.delivered", {}),
    ("bounce", {"type": "bounce", "status": "5.1.1"}, "email.bounced", {"bounce_class": "hard"}),
    ("bounce", {"type": "blocked"}, "email.bounced", {"bounce_class": "block"}),
    ("bounce", {"type": "expired"}, "email.bounced", {"bounce_class": "soft"}),
    ("bounce", {"type": "odd"}, "email.bounced", {"bounce_class": "undetermined"}),
    ("bounce", {"type": "bounce", "bounce_classification": "REPUTATION"}, "email.bounced", {"bounce_class": "block"}),
    ("bounce", {"type": "bounce", "bounce_classification": "Content"}, "email.bounced", {"bounce_class": "block"}),
    (
        "bounce",
        {"type": "bounce", "bounce_classification": "Frequency or Volume Too High"},
        "email.bounced",
        {"bounce_class": "block"},
    ),
    (
        "bounce",
        {"type": "bounce", "bounce_classification": "Invalid Address"},
        "email.bounced",
        {"bounce_class": "hard"},
    ),
    ("dropped", {"reason": "Spam Content (if Spam Checker app enabled)"}, "email.dropped", {"reason": "content"}),
    ("dropped", {"reason": "Unsubscribed Address"}, "email.dropped", {"reason": "unsubscribed"}),
    ("dropped", {"reason": "Bounced Address"}, "email.dropped", {"reason": "bounced"}),
    ("dropped", {"reason": "Spam Reporting Address"}, "email.dropped", {"reason": "complained"}),
    ("dropped", {"reason": "Invalid"}, "email.dropped", {"reason": "invalid"}),
    ("dropped", {"reason": "Recipient List over Package Quota"}, "email.dropped", {"reason": "quota"}),
    ("dropped", {"reason": "Invalid SMTPAPI header"}, "email.failed", {}),
    ("dropped", {"reason": "", "type": "expired"}, "email.dropped", {"reason": "expired"}),
    ("dropped", {}, "email.dropped", {"reason": "other"}),
    ("open", {}, "email.opened", {}),
    ("click", {"url": "https://example.com/a?b=1"}, "email.clicked", {"url": "https://example.com/a?b=1"}),
    ("spamreport", {}, "email.complained", {}),
    ("unsubscribe", {}, "email.unsubscribed", {"scope": "all"}),
    (
        "group_unsubscribe",
        {"asm_group_id": 17},
        "email.unsubscribed",
        {"scope": "group", "scope_id": "17", "list_id": "17"},
    ),
    ("group_resubscribe", {"asm_group_id": 17}, "email.resubscribed", {"scope": "group", "scope_id": "17"}),
    ("account_status_change", {"email": ...}, "email.unknown", {"category": "account"}),
    ("received", {}, "email.unknown", {"category": "inbound"}),
    ("invented_next_year", {}, "email.unknown", {"category": "other"}),
]


@pytest.mark.parametrize(("name", "changes", "type_", "fields"), GRID)
def test_each_type_becomes_one_event_with_its_sub_fields(
    name: str, changes: dict[str, Any], type_: str, fields: dict[str, Any]
) -> None:
    event = one(event=name, **changes)
    assert event.type == type_
    assert {field: getattr(event, field) for field in fields} == fields
    assert event.provider_event == name


def test_every_documented_type_has_a_row() -> None:
    assert set(TYPES) <= {name for name, _, _, _ in GRID}


def test_what_is_always_there_is_there() -> None:
    event = one(category=["welcome", "de"], ip="192.0.2.77", useragent="Mozilla/5.0 (X11)", plan="pro")
    assert (event.contact, event.recipient, event.provider, event.account) == (
        "c-1",
        "ann@example.com",
        "sendgrid",
        "default",
    )
    assert (event.message, event.campaign, event.tags) == ("msg1", "welcome", ("welcome", "de"))
    assert event.metadata == {"contact_id": "c-1", "plan": "pro"}
    assert (event.occurred_at, event.occurred_precision) == ("2026-11-02T09:15:00.000Z", "s")
    assert (event.ip, event.test, event.recipient_certainty) == ("192.0.2.0/24", False, "exact")


def test_the_id_is_the_hash_of_the_worked_example() -> None:
    event = one(event="click", timestamp=AT, url="https://example.com/")
    parts = ("click", "msg1", str(AT), "https://example.com/", "", "", "")
    assert event.id == stable_id("1", "sendgrid", "default", *parts, "ann@example.com")


def test_a_retry_has_the_same_id_and_another_link_or_second_another() -> None:
    click = {"event": "click", "url": "https://example.com/a"}
    assert one(**click).id == one(**click, sg_event_id="changed").id
    assert (
        len({one(**click).id, one(**click, timestamp=AT + 1).id, one(event="click", url="https://example.com/b").id})
        == 3
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sg_message_id": "abc.filter0307p1las1.123"}, "abc"),
        ({"sg_message_id": "abc.recvd-x"}, "abc"),
        ({"sg_message_id": "filter0307", "smtp-id": "<xyz@ismtpd-1>"}, "xyz"),
        ({"sg_message_id": "plain"}, "plain"),
        ({"sg_message_id": ..., "smtp-id": "<xyz@ismtpd-1>"}, "xyz"),
        ({"sg_message_id": ...}, None),
    ],
)
def test_the_message_is_the_same_on_delivery_and_engagement_events(
    changes: dict[str, Any], message: str | None
) -> None:
    assert one(**changes).message == message


@pytest.mark.parametrize(
    ("changes", "campaign"),
    [
        ({"campaign_id": "mine", "singlesend_id": "s", "category": "c"}, "mine"),
        ({"singlesend_id": "s", "marketing_campaign_id": 7, "category": "c"}, "s"),
        ({"marketing_campaign_id": 7, "category": "c"}, "7"),
        ({"newsletter": {"newsletter_id": "1943530"}, "category": "c"}, "1943530"),
        ({"category": "c"}, "c"),
        ({"category": ["c", "d"]}, "c"),
        ({"campaign_id": "x" * 300, "category": "c"}, "c"),
        ({}, None),
    ],
)
def test_the_first_place_that_names_a_campaign_wins(changes: dict[str, Any], campaign: str | None) -> None:
    assert one(**changes).campaign == campaign


def test_an_account_may_look_elsewhere_for_contact_and_campaign() -> None:
    account = AccountConfig(contact_keys=("crm",), campaign_keys=("cmp",), campaign_from=("category", "singlesend_id"))
    event = one(account, crm="k9", singlesend_id="s", category="c")
    assert (event.contact, event.campaign) == ("k9", "c")


@pytest.mark.parametrize(
    ("order", "campaign"),
    [
        ((), "of-metadata"),
        (("category",), "of-metadata"),
        (("category", "metadata"), "c"),
        (("newsletter.newsletter_id", "metadata", "category"), "of-metadata"),
        (("metadata", "category"), "of-metadata"),
    ],
)
def test_an_account_may_put_the_metadata_behind_other_places(order: tuple[str, ...], campaign: str) -> None:
    account = AccountConfig(campaign_from=order)
    assert one(account, campaign_id="of-metadata", category="c").campaign == campaign


def test_without_a_contact_key_the_contact_is_a_keyed_hash_of_the_lower_cased_address() -> None:
    upper, lower = one(contact_id=..., email="Ann@Example.com"), one(contact_id=..., email="ann@example.com")
    assert upper.contact == lower.contact
    assert upper.contact.startswith("h:") and len(upper.contact) == 34
    assert upper.recipient == "Ann@example.com"


def test_a_dropped_event_with_an_empty_address_has_nobody() -> None:
    (rejected,) = convert({**BASE, "event": "dropped", "email": "", "contact_id": ""}).rejected
    assert (rejected.reason, rejected.part) == (Reason.NO_CONTACT, 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event": "open", "sg_machine_open": True}, (True, "privacy_proxy", ("provider_flag",))),
        ({"event": "open", "sg_machine_open": False}, (False, None, ())),
        ({"event": "open"}, (None, None, ())),
        ({"event": "open", "useragent": "Mozilla/5.0"}, (True, "privacy_proxy", ("ua_privacy_proxy",))),
        (
            {"event": "open", "useragent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"},
            (None, "image_proxy", ()),
        ),
        (
            {"event": "click", "url": "https://a.b", "useragent": "python-requests/2.31"},
            (True, "scanner", ("ua_scanner",)),
        ),
        ({"event": "click", "url": "https://a.b", "sg_machine_open": True}, (None, None, ())),
        ({"event": "delivered", "useragent": "curl/8"}, (None, None, ())),
    ],
)
def test_machines_are_told_by_flag_and_user_agent(changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    event = one(**changes)
    kind = event.machine_kind if isinstance(event.machine_kind, str) else None
    assert (event.machine, kind, event.machine_reasons) == expected


@pytest.mark.parametrize(
    ("timestamp", "at", "precision"),
    [
        (AT * 1000, "2026-11-02T09:15:00.000Z", "ms"),
        (str(AT), "2026-11-02T09:15:00.000Z", "s"),
        (..., "2026-11-02T09:20:00.000Z", "assumed"),
        (AT + 3600, "2026-11-02T09:20:00.000Z", "clamped"),
    ],
)
def test_times_are_seconds_milliseconds_assumed_or_clamped(timestamp: object, at: str, precision: str) -> None:
    event = one(timestamp=timestamp)
    assert (event.occurred_at, event.occurred_precision) == (at, precision)


@pytest.mark.parametrize("timestamp", [5, RECEIVED // MICROS + 25 * 3600, -1, 10**30, -(10**30), 1e300, "1" + "0" * 30])
def test_a_time_before_2000_or_a_day_ahead_is_implausible(timestamp: object) -> None:
    (rejected,) = convert({**BASE, "timestamp": timestamp}).rejected
    assert rejected.reason == Reason.IMPLAUSIBLE_TIME


def test_a_bad_part_is_rejected_alone_and_the_sum_closes() -> None:
    result = convert(BASE, 7, {"email": "x@example.com"}, {**BASE, "event": "open"}, {**BASE, "timestamp": 3})
    assert [event.type for event in result.events] == ["email.delivered", "email.opened"]
    assert [(r.reason, r.part) for r in result.rejected] == [
        (Reason.SCHEMA, 1),
        (Reason.SCHEMA, 2),
        (Reason.IMPLAUSIBLE_TIME, 4),
    ]
    assert result.parts == 5


def test_smtp_answers_are_taken_apart() -> None:
    event = one(event="bounce", reason="550 5.1.1 no such user", status="5.1.1", type="bounce")
    assert (event.smtp.code, event.smtp.enhanced, event.smtp.text) == (550, "5.1.1", "550 5.1.1 no such user")  # type: ignore[union-attr]


def test_long_values_are_cut_and_named() -> None:
    event = one(
        event="click",
        url="https://example.com/" + "a" * 9_000,
        useragent="u" * 3_000,
        category=["t"] * 60,
        **{f"k{n}": "v" for n in range(80)},
    )
    assert event.cut == ("metadata", "tags", "url", "user_agent")
    assert (len(event.url or ""), len(event.tags), len(event.metadata)) == (8192, 50, 50)
    assert ("provider_event",) == one(event="e" * 3_000).cut


def test_a_day_of_skew_is_measured_against_received_at_not_a_clock() -> None:
    late = Post(
        provider="sendgrid",
        account="default",
        body=json.dumps([BASE]).encode(),
        headers={},
        received_at=RECEIVED - 30 * HOUR,
    )
    assert [r.reason for r in normalise(late).rejected] == [Reason.IMPLAUSIBLE_TIME]
