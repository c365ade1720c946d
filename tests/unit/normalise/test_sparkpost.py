"""SparkPost: what the payload files do not say of ids, pings, secrets and neighbours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagepost.events import Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
AT = "1793610900"
EVENT: dict[str, Any] = {
    "type": "click",
    "event_id": "92356927693813856",
    "message_id": "m1",
    "timestamp": AT,
    "rcpt_to": "ann@example.com",
    "target_link_url": "https://example.com/",
}


def convert(*parts: Any, account: AccountConfig | None = None, **headers: str) -> Normalised:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps(parts).encode()
    return normalise(
        Post(provider="sparkpost", account="default", body=body, headers=named, received_at=RECEIVED), account
    )


def part(of_class: str = "track_event", **changes: Any) -> dict[str, Any]:
    return {"msys": {of_class: {k: v for k, v in {**EVENT, **changes}.items() if v is not ...}}}


def one(*parts: Any) -> Event:
    (event,) = convert(*parts).events
    return event


def test_the_id_is_the_hash_of_the_worked_example() -> None:
    assert one(part()).id == stable_id("1", "sparkpost", "default", "92356927693813856", "ann@example.com")


def test_an_id_is_the_same_as_number_and_as_text() -> None:
    assert one(part()).id == one(part(event_id=92356927693813856)).id


def test_without_an_event_id_type_message_time_and_link_make_the_id() -> None:
    parts = ("click", "m1", AT, "https://example.com/")
    assert one(part(event_id=...)).id == stable_id("1", "sparkpost", "default", *parts, "ann@example.com")
    assert one(part(event_id=...)).id != one(part(event_id=..., target_link_url="https://example.com/b")).id


def test_the_type_decides_whatever_the_class_is_called() -> None:
    assert one(part("message_event", type="generation_failure")).type == "email.failed"
    assert one(part("gen_event", type="generation_failure")).type == "email.failed"
    assert one(part("renamed_event", type="delivery")).type == "email.delivered"


def test_an_unknown_class_or_type_harms_no_neighbour() -> None:
    result = convert(part(type="delivery"), part("new_event", type="new"), part())
    assert [event.type for event in result.events] == ["email.delivered", "email.unknown", "email.clicked"]
    assert result.rejected == ()


def test_a_ping_passes_without_the_secret_and_an_event_does_not() -> None:
    account = AccountConfig(secrets=("user:pass",))
    assert convert({"msys": {}}, account=account) == Normalised(without_event=1)
    assert [r.reason for r in convert(part(), account=account).rejected] == [Reason.SIGNATURE]
    (event,) = convert(part(), account=account, authorization="Basic dXNlcjpwYXNz").events
    assert event.verified is True


@pytest.mark.parametrize("bounce_class", ["10", 10])
def test_a_bounce_class_is_read_as_text_and_as_number(bounce_class: object) -> None:
    assert one(part("message_event", type="bounce", bounce_class=bounce_class)).bounce_class == "hard"


def test_a_delay_with_a_hard_class_is_still_tried_again() -> None:
    assert one(part("message_event", type="delay", bounce_class="10")).type == "email.deferred"
