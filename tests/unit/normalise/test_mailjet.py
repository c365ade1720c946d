"""Mailjet: what the payload files do not say of ids, numbers and secrets."""

from __future__ import annotations

import json
from typing import Any

from stagepost.events import Event, parse_rfc3339, stable_id
from stagepost.normalise import Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
BASE: dict[str, Any] = {
    "event": "click",
    "time": 1_793_610_900,
    "MessageID": 19421777835146490,
    "email": "ann@example.com",
    "url": "https://example.com/",
    "mj_list_id": 7,
    "mj_contact_id": 4,
}


def convert(body: bytes) -> Normalised:
    return normalise(Post(provider="mailjet", account="default", body=body, headers={}, received_at=RECEIVED))


def one(**changes: Any) -> Event:
    fields = {k: v for k, v in {**BASE, **changes}.items() if v is not ...}
    (event,) = convert(json.dumps(fields).encode()).events
    return event


def test_the_id_is_the_hash_of_the_worked_example() -> None:
    parts = ("click", "19421777835146490", "1793610900", "https://example.com/", "7")
    assert one().id == stable_id("1", "mailjet", "default", *parts, "ann@example.com")


def test_another_link_second_or_list_is_another_event() -> None:
    others = (one(url="https://example.com/b"), one(time=1_793_610_901), one(mj_list_id=8), one(event="open"))
    assert len({one().id, *(other.id for other in others)}) == 5


def test_a_message_id_beyond_doubles_keeps_its_digits_as_number_and_as_text() -> None:
    big = 2**63 - 1
    assert one(MessageID=big).message == str(big)
    assert one(MessageID=big).id == one(MessageID=str(big)).id


def test_sent_is_delivered_because_the_receiving_server_took_it() -> None:
    assert one(event="sent").type == "email.delivered"


def test_a_soft_bounce_with_a_permanent_answer_is_final() -> None:
    event = one(event="bounce", hard_bounce=False, error="quota exceeded", comment="552 5.2.2 full")
    assert (event.type, event.bounce_class) == ("email.bounced", "soft")


def test_the_contact_number_of_the_vendor_is_never_the_contact() -> None:
    assert one().contact.startswith("h:")
    assert one().metadata == {}
