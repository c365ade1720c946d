"""Amazon SES: ids that meet across carriers, bounds of carriers; each type and carrier is in the grid."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stagepost.events import Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise
from stagepost.normalise.ses import DETAIL_TYPES, TYPES

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
TIME = "2026-11-02T09:15:00.123Z"
MAIL: dict[str, Any] = {"messageId": "m1", "timestamp": "2026-11-02T08:00:00Z", "destination": ["ann@example.com"]}


def convert(body: object, account: AccountConfig | None = None) -> Normalised:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return normalise(Post(provider="ses", account="default", body=raw, headers={}, received_at=RECEIVED), account)


def bounce(key: str = "eventType", **fields: Any) -> dict[str, Any]:
    listed = [{"emailAddress": "ann@example.com"}]
    return {key: "Bounce", "mail": MAIL, "bounce": {"timestamp": TIME, "bouncedRecipients": listed, **fields}}


CLICK = {
    "eventType": "Click",
    "mail": MAIL,
    "click": {"timestamp": TIME, "link": "https://example.com/", "ipAddress": "192.0.2.7"},
}


def sns(message: object, number: str) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": number, "TopicArn": "arn:t", "Message": json.dumps(message)}


def carriers(event: object) -> list[object]:
    """The same event as it arrives by every road."""
    data = base64.b64encode(json.dumps(event).encode()).decode()
    bridge = {"detail-type": "Email", "source": "aws.ses", "time": "2026-11-02T09:16:00Z", "detail": event}
    return [
        event,
        [event],
        sns(event, "1"),
        sns(event, "2"),
        bridge,
        {"Body": json.dumps(sns(event, "3"))},
        {"Body": json.dumps(bridge)},
        {"Records": [{"Sns": sns(event, "4")}]},
        {"Records": [{"body": json.dumps(sns(event, "5"))}]},
        {"requestId": "r", "timestamp": 1, "records": [{"data": data}]},
        json.dumps(event).encode() + b"\n",
    ]


@pytest.mark.parametrize("event", [bounce(feedbackId="f1"), bounce(), CLICK])
def test_an_event_has_one_id_whatever_carried_it(event: dict[str, Any]) -> None:
    found = [convert(body).events for body in carriers(event)]
    assert [len(events) for events in found] == [1] * len(found)
    assert len({events[0].id for events in found}) == 1
    assert {events[0].occurred_at for events in found} == {TIME}


def test_a_notification_and_event_publishing_of_one_bounce_meet() -> None:
    (published,), (notified,) = (
        convert(bounce(feedbackId="f1")).events,
        convert(bounce("notificationType", feedbackId="f1")).events,
    )
    assert published.id == notified.id == stable_id("1", "ses", "default", "Bounce", "f1", "ann@example.com")


def test_ids_without_feedback_name_message_time_link_and_address() -> None:
    (click,) = convert(CLICK).events
    parts = ("Click", "m1", TIME, "https://example.com/", "192.0.2.7")
    assert click.id == stable_id("1", "ses", "default", *parts, "ann@example.com")


def test_topics_have_ids_of_their_own() -> None:
    topics = [{"topicName": name, "subscriptionStatus": "OptOut"} for name in ("a", "b")]
    changed = {"timestamp": TIME, "contactList": "L", "newTopicPreferences": {"topicSubscriptionStatus": topics}}
    found = convert({"eventType": "Subscription", "mail": MAIL, "subscription": changed}).events
    assert [event.id for event in found] == [
        stable_id("1", "ses", "default", "Subscription", "m1", TIME, "", "", name, "ann@example.com") for name in "ab"
    ]


def test_the_time_of_a_bounce_is_never_that_of_the_send() -> None:
    event = {
        "eventType": "Bounce",
        "mail": MAIL,
        "bounce": {"bouncedRecipients": [{"emailAddress": "ann@example.com"}]},
    }
    (found,) = convert(event).events
    assert (found.occurred_at, found.occurred_precision) == ("2026-11-02T09:20:00.000Z", "assumed")


def test_an_event_without_a_time_has_that_of_the_carrier_nearest_to_it() -> None:
    event = {"eventType": "Open", "mail": MAIL, "open": {}}
    inner = {"detail-type": "Email Opened", "time": "2026-11-02T09:16:00Z", "detail": event}
    data = base64.b64encode(json.dumps(sns(inner, "1") | {"Timestamp": "2026-11-02T09:17:00Z"}).encode()).decode()
    (found,) = convert({"requestId": "r", "timestamp": RECEIVED // 1000, "records": [{"data": data}]}).events
    assert (found.occurred_at, found.occurred_precision) == ("2026-11-02T09:16:00.000Z", "assumed")
    envelope = sns(event, "1") | {"Timestamp": "2026-11-02T09:17:00Z"}
    assert [each.occurred_at for each in convert(envelope).events] == ["2026-11-02T09:17:00.000Z"]


def test_tags_of_the_event_go_before_headers_of_the_mail() -> None:
    headers = [{"name": "x-metadata", "value": '{"contact_id": "h", "n": 1}'}, {"name": "X-Metadata", "value": "[1]"}]
    mail = {**MAIL, "headers": headers, "tags": {"contact_id": ["t", "u"], "ses:from-domain": ["x"], "empty": []}}
    (found,) = convert({"eventType": "Send", "mail": mail}).events
    assert found.metadata == {"contact_id": "t", "n": "1"}


def test_a_candidate_is_one_of_several_who_may_have_acted() -> None:
    several = {**MAIL, "destination": ["ann@example.com", "bob@example.com"]}
    (found,) = convert({**CLICK, "mail": several}).events
    assert (found.recipient, found.recipient_certainty) == ("ann@example.com", "candidate")


def test_a_bounce_without_a_list_is_about_the_mails_recipients_none_of_them_for_certain() -> None:
    several = {**MAIL, "destination": ["ann@example.com", "bob@example.com"]}
    found = convert({"eventType": "Bounce", "mail": several, "bounce": {"bounceType": "Permanent"}}).events
    assert [(each.recipient, each.recipient_certainty) for each in found] == [
        ("ann@example.com", "candidate"),
        ("bob@example.com", "candidate"),
    ]


def test_carriers_inside_carriers_are_bounded() -> None:
    body: dict[str, Any] = CLICK
    for _ in range(7):
        body = {"Body": json.dumps(body)}
    (rejected,) = convert(body).rejected
    assert rejected.reason == Reason.SCHEMA


@pytest.mark.parametrize(
    "body",
    [
        {"eventType": "Send", "mail": {"destination": ["a@example.com"] * 10_001}},
        {"eventType": "Bounce", "mail": MAIL, "bounce": {"bouncedRecipients": [{}] * 10_001}},
        {"Records": [{}] * 10_001},
        {"records": [{"data": base64.b64encode(b"{}" * 5_001).decode()}] * 2},
    ],
)
def test_more_recipients_or_parts_than_allowed_is_oversize(body: object) -> None:
    (rejected,) = convert(body).rejected
    assert (rejected.reason, rejected.part) == (Reason.OVERSIZE, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"Records": [7]}, Reason.SCHEMA),
        ({"Records": [{"Sns": None}]}, Reason.SCHEMA),
        ({"Body": 7}, Reason.SCHEMA),
        ({"Type": "Notification", "Message": None}, Reason.SCHEMA),
        ({"records": [{"data": None}, {}]}, Reason.SCHEMA),
        ({"Body": "{"}, Reason.UNDECODABLE),
        ({"detail-type": "Email Sent", "detail": 7}, Reason.SCHEMA),
        ({}, Reason.SCHEMA),
    ],
)
def test_a_carrier_with_nothing_readable_in_it_is_rejected_with_its_part(body: object, reason: Reason) -> None:
    result = convert(body)
    assert (result.events, {each.reason for each in result.rejected}) == ((), {reason})
    assert all(each.part is not None for each in result.rejected)


def test_every_detail_type_names_a_type() -> None:
    assert set(DETAIL_TYPES.values()) == set(TYPES)
