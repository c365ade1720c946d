"""Postmark: every record type, every type of bounce, every subscription change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagepost.events import Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import Normalised, Post, normalise
from stagepost.normalise.postmark import BOUNCES, TYPES

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
TIME = "2026-11-02T10:15:00.1234567+01:00"

BASE: dict[str, Any] = {
    "MessageID": "00000000-0000-4000-8000-000000000001",
    "Recipient": "ann@example.com",
    "Metadata": {"contact_id": "c-1"},
    "Tag": "nurture-3",
    "MessageStream": "broadcast",
    "ServerID": 23,
}


def convert(**fields: Any) -> Normalised:
    body = json.dumps({k: v for k, v in {**BASE, **fields}.items() if v is not ...}).encode()
    return normalise(Post(provider="postmark", account="default", body=body, headers={}, received_at=RECEIVED))


def one(**fields: Any) -> Event:
    result = convert(**fields)
    assert result.rejected == ()
    (event,) = result.events
    return event


RECORDS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"RecordType": "Delivery", "DeliveredAt": TIME}, "email.delivered", {"stream": "broadcast"}),
    ({"RecordType": "Open", "ReceivedAt": TIME, "FirstOpen": True}, "email.opened", {"first": True}),
    (
        {"RecordType": "Click", "ReceivedAt": TIME, "OriginalLink": "https://example.com/p"},
        "email.clicked",
        {"url": "https://example.com/p"},
    ),
    (
        {"RecordType": "SpamComplaint", "BouncedAt": TIME, "ID": 9, "Recipient": ..., "Email": "a@b.c"},
        "email.complained",
        {},
    ),
    ({"RecordType": "SMTPApiError"}, "email.failed", {}),
    ({"RecordType": "SMTP API Error"}, "email.failed", {}),
    ({"RecordType": "Inbound"}, "email.unknown", {"category": "inbound"}),
    ({"RecordType": "Invented"}, "email.unknown", {"category": "other"}),
    ({"RecordType": "Bounce", "Type": "Invented", "BouncedAt": TIME}, "email.unknown", {"category": "other"}),
    (
        {
            "RecordType": "SubscriptionChange",
            "SuppressSending": True,
            "SuppressionReason": "HardBounce",
            "ChangedAt": TIME,
        },
        "email.suppressed",
        {"action": "add", "reason": "bounced"},
    ),
    (
        {"RecordType": "SubscriptionChange", "SuppressSending": True, "SuppressionReason": "SpamComplaint"},
        "email.suppressed",
        {"action": "add", "reason": "complained"},
    ),
    (
        {
            "RecordType": "SubscriptionChange",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
            "Origin": "Recipient",
        },
        "email.unsubscribed",
        {"scope": "stream", "scope_id": "broadcast", "method": "link"},
    ),
    (
        {
            "RecordType": "SubscriptionChange",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
            "Origin": "Customer",
        },
        "email.unsubscribed",
        {"scope": "stream", "method": "api"},
    ),
    (
        {
            "RecordType": "SubscriptionChange",
            "SuppressSending": False,
            "SuppressionReason": None,
            "Origin": "Recipient",
        },
        "email.resubscribed",
        {"scope": "stream", "scope_id": "broadcast"},
    ),
]


@pytest.mark.parametrize(("fields", "type_", "sub"), RECORDS)
def test_each_record_type_becomes_one_event(fields: dict[str, Any], type_: str, sub: dict[str, Any]) -> None:
    event = one(**fields)
    assert event.type == type_
    assert {name: getattr(event, name) for name in sub} == sub


EXPECTED_BOUNCES = {
    "HardBounce": ("email.bounced", "hard"),
    "SoftBounce": ("email.bounced", "soft"),
    "Blocked": ("email.bounced", "block"),
    "SpamNotification": ("email.bounced", "block"),
    "VirusNotification": ("email.bounced", "block"),
    "DMARCPolicy": ("email.bounced", "block"),
    "Unknown": ("email.bounced", "undetermined"),
    "Transient": ("email.deferred", None),
    "DnsError": ("email.deferred", None),
    "OpenRelayTest": ("email.deferred", None),
    "BadEmailAddress": ("email.dropped", "invalid"),
    "ManuallyDeactivated": ("email.dropped", "suppressed"),
    "Unconfirmed": ("email.dropped", "policy"),
    "SMTPApiError": ("email.failed", None),
    "TemplateRenderingFailed": ("email.failed", None),
    "SpamComplaint": ("email.complained", None),
    "Unsubscribe": ("email.unsubscribed", "stream"),
    "Subscribe": ("email.subscribed", "stream"),
    "AutoResponder": ("email.replied", "auto_reply"),
    "AddressChange": ("email.replied", "address_change"),
    "ChallengeVerification": ("email.replied", "challenge"),
    "InboundError": ("email.unknown", "inbound"),
}
_SUB = {
    "email.bounced": "bounce_class",
    "email.dropped": "reason",
    "email.unsubscribed": "scope",
    "email.subscribed": "scope",
    "email.replied": "kind",
    "email.unknown": "category",
}


@pytest.mark.parametrize("name", sorted(EXPECTED_BOUNCES))
def test_each_type_of_bounce_means_what_it_says(name: str) -> None:
    event = one(RecordType="Bounce", Type=name, ID=42, Recipient=..., Email="ann@example.com", BouncedAt=TIME)
    type_, sub = EXPECTED_BOUNCES[name]
    assert event.type == type_
    assert sub is None or getattr(event, _SUB[type_]) == sub


def test_every_documented_type_has_a_row() -> None:
    assert set(EXPECTED_BOUNCES) == set(BOUNCES)
    assert set(TYPES) <= {fields["RecordType"] for fields, _, _ in RECORDS}


def test_seven_fraction_digits_and_an_offset_are_read() -> None:
    event = one(RecordType="Delivery", DeliveredAt=TIME)
    assert (event.occurred_at, event.occurred_precision) == ("2026-11-02T09:15:00.123456Z", "us")


def test_what_is_always_there_is_there() -> None:
    event = one(RecordType="Open", ReceivedAt=TIME, UserAgent="Mozilla/5.0", Geo={"IP": "2001:db8:1:2::9"})
    assert (event.contact, event.campaign, event.message, event.tags) == (
        "c-1",
        "nurture-3",
        BASE["MessageID"],
        ("nurture-3",),
    )
    assert (event.machine, event.machine_reasons, event.ip) == (True, ("ua_privacy_proxy",), "2001:db8:1::/48")


def test_ids_follow_the_number_else_message_time_link_and_state() -> None:
    bounce = one(RecordType="Bounce", Type="HardBounce", ID=42, Email="ann@example.com", BouncedAt=TIME)
    click = one(RecordType="Click", ReceivedAt=TIME, OriginalLink="https://example.com/p")
    assert bounce.id == stable_id("1", "postmark", "default", "Bounce", "42", "ann@example.com")
    parts = ("Click", BASE["MessageID"], TIME, "https://example.com/p", "")
    assert click.id == stable_id("1", "postmark", "default", *parts, "ann@example.com")


def test_an_empty_tag_is_no_campaign_and_metadata_goes_first() -> None:
    assert one(RecordType="Delivery", Tag="").campaign is None
    assert one(RecordType="Delivery", Metadata={"campaign_id": "m"}).campaign == "m"


def test_a_sending_domain_is_told_by_bounces_only() -> None:
    bounce = one(RecordType="Bounce", Type="HardBounce", ID=1, From="News <news@Mail.Example.com>")
    assert bounce.sending_domain == "mail.example.com"


def test_a_withdrawal_without_an_address_can_be_applied_to_nobody() -> None:
    (rejected,) = convert(RecordType="Bounce", Type="Unsubscribe", Recipient=..., Metadata=...).rejected
    assert rejected.reason == Reason.NO_CONTACT


def test_an_object_without_record_type_is_no_event() -> None:
    assert [r.reason for r in convert().rejected] == [Reason.SCHEMA]
