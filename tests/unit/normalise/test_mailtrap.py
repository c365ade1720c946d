"""Mailtrap: both forms of a body, ids, and the signature over raw bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from stagepost.events import Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise
from stagepost.normalise.limits import LIMITS

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
EVENT: dict[str, Any] = {
    "event": "click",
    "event_id": "bede7236",
    "message_id": "m1",
    "email": "ann@example.com",
    "timestamp": 1_793_610_900,
    "url": "https://example.com/",
}


def convert(body: bytes, account: AccountConfig | None = None, **headers: str) -> Normalised:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    post = Post(provider="mailtrap", account="default", body=body, headers=named, received_at=RECEIVED)
    return normalise(post, account)


def envelope(*events: Any) -> bytes:
    return json.dumps({"events": events}).encode()


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_the_id_is_the_hash_of_the_worked_example() -> None:
    (event,) = convert(envelope(EVENT)).events
    assert event.id == stable_id("1", "mailtrap", "default", "bede7236", "ann@example.com")


def test_without_an_event_id_event_message_time_and_link_make_the_id() -> None:
    (event,) = convert(envelope({**EVENT, "event_id": None})).events
    parts = ("click", "m1", "1793610900", "https://example.com/")
    assert event.id == stable_id("1", "mailtrap", "default", *parts, "ann@example.com")


def test_an_array_of_events_and_json_lines_say_the_same() -> None:
    other = {**EVENT, "event": "open", "event_id": "2"}
    assert convert(envelope(EVENT, other)) == convert(lines(EVENT, other))
    assert [event.type for event in convert(lines(EVENT, other)).events] == ["email.clicked", "email.opened"]
    assert convert(envelope(EVENT)) == convert(lines(EVENT))


def test_envelopes_one_a_line_are_taken_apart_too() -> None:
    result = convert(envelope(EVENT) + b"\n" + envelope({**EVENT, "event_id": "2"}, 7))
    assert [event.provider_event_id for event in result.events] == ["bede7236", "2"]
    assert [(rejected.reason, rejected.part) for rejected in result.rejected] == [(Reason.SCHEMA, 2)]


def test_more_events_than_a_body_may_have_parts_are_too_many() -> None:
    result = convert(b'{"events":[' + b"1," * LIMITS.parts + b"1]}")
    assert [(rejected.reason, rejected.part) for rejected in result.rejected] == [(Reason.OVERSIZE, None)]


def test_an_envelope_without_events_is_no_event_and_passes_unsigned() -> None:
    assert convert(envelope(), AccountConfig(secrets=("key",))) == Normalised(without_event=1)
    assert [r.reason for r in convert(b'{"events": null}').rejected] == [Reason.SCHEMA]


def test_the_signature_is_over_the_raw_bytes_with_any_of_the_keys() -> None:
    body = envelope(EVENT)
    given = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    account = AccountConfig(secrets=("old", "key"))
    assert [event.verified for event in convert(body, account, mailtrap_signature=given).events] == [True]
    for text, headers in ((body + b" ", {"mailtrap_signature": given}), (body, {}), (body, {"signature": given})):
        assert [r.reason for r in convert(text, account, **headers).rejected] == [Reason.SIGNATURE]
