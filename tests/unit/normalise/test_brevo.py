"""Brevo: what the payload files do not say of ids, and what other normalisers got wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagepost.events import Event, parse_rfc3339, stable_id
from stagepost.normalise import Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
AT = 1_793_610_900
BASE: dict[str, Any] = {
    "event": "click",
    "email": "ann@example.com",
    "id": 26224,
    "message-id": "<m1@example.com>",
    "ts_event": AT,
    "date": "2026-11-02 10:15:00",
    "link": "https://example.com/",
}


def convert(*parts: Any) -> Normalised:
    body = json.dumps(parts[0] if len(parts) == 1 else parts).encode()
    return normalise(Post(provider="brevo", account="default", body=body, headers={}, received_at=RECEIVED))


def one(**changes: Any) -> Event:
    (event,) = convert({k: v for k, v in {**BASE, **changes}.items() if v is not ...}).events
    return event


def test_the_id_is_made_of_event_message_time_and_link_and_not_of_the_webhooks_id() -> None:
    parts = ("click", "<m1@example.com>", str(AT), "https://example.com/")
    assert one().id == stable_id("1", "brevo", "default", *parts, "ann@example.com")
    assert one().id == one(id=1).id
    assert len({one().id, one(link="https://example.com/b").id, one(ts_event=AT + 1).id, one(event="opened").id}) == 4


def test_a_campaign_stands_in_the_id_where_there_is_no_message() -> None:
    event = one(**{"message-id": ...}, camp_id=42, link=..., event="opened")
    assert event.id == stable_id("1", "brevo", "default", "opened", "42", str(AT), "", "ann@example.com")


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({"ts_epoch": AT * 1000}, str(AT)),
        ({"ts_event": ..., "ts_epoch": AT * 1000}, str(AT * 1000)),
        ({"ts_event": ..., "s_epoch": AT}, str(AT)),
        ({"ts_event": ...}, "2026-11-02 10:15:00"),
    ],
)
def test_the_first_time_that_is_there_stands_in_the_id(changes: dict[str, Any], time: str) -> None:
    parts = ("click", "<m1@example.com>", time, "https://example.com/")
    assert one(**changes).id == stable_id("1", "brevo", "default", *parts, "ann@example.com")


def test_a_complaint_and_a_request_are_no_deliveries_and_a_withdrawal_is_no_bounce() -> None:
    assert one(event="complaint").type == "email.complained"
    assert one(event="request").type == "email.sent"
    assert one(event="unsubscribed").type == "email.unsubscribed"


def test_the_time_is_the_events_and_not_that_of_its_arrival_nor_the_local_one() -> None:
    event = one(ts=AT + 7200, date="2026-11-02 11:15:00")
    assert event.occurred_at == "2026-11-02T09:15:00.000Z"


def test_one_object_and_a_batch_say_the_same() -> None:
    assert [event.id for event in convert(BASE, BASE).events] == [one().id] * 2


def test_the_contact_number_of_the_vendor_is_never_the_contact() -> None:
    assert one(contact_id=8).contact.startswith("h:")
    assert one(contact_id=8).metadata == {}
