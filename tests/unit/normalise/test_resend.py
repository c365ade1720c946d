"""Resend: ids, several recipients, Standard Webhooks with keys made for the test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from stagepost.events import MICROS, Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise
from stagepost.normalise.limits import LIMITS

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
CREATED = "2026-11-02T09:15:00.000Z"


def body(type_: str = "email.delivered", **data: Any) -> bytes:
    found = {"email_id": "e1", "to": ["ann@example.com"], **data}
    return json.dumps({"type": type_, "created_at": CREATED, "data": found}).encode()


def convert(text: bytes, headers: dict[str, str] | None = None, account: AccountConfig | None = None) -> Normalised:
    post = Post(provider="resend", account="default", body=text, headers=headers or {}, received_at=RECEIVED)
    return normalise(post, account)


def one(text: bytes, **headers: str) -> Event:
    (event,) = convert(text, {name.replace("_", "-"): value for name, value in headers.items()}).events
    return event


def test_the_id_is_the_hash_of_the_worked_example_and_stays_on_retries() -> None:
    expected = stable_id("1", "resend", "default", "msg_1", "ann@example.com")
    assert one(body(), svix_id="msg_1", svix_timestamp="1").id == expected
    assert one(body(), svix_id="msg_1", svix_timestamp="2").id == expected


def test_without_svix_id_type_message_time_and_link_make_the_id() -> None:
    click = one(body("email.clicked", click={"link": "https://example.com/"}))
    parts = ("email.clicked", "e1", CREATED, "https://example.com/")
    assert click.id == stable_id("1", "resend", "default", *parts, "ann@example.com")


def test_each_recipient_of_one_post_has_an_id_of_its_own() -> None:
    result = convert(body("email.sent", to=["ann@example.com", "bob@example.com", "ann@example.com"]))
    assert [event.recipient for event in result.events] == ["ann@example.com", "bob@example.com"]
    assert len({event.id for event in result.events}) == 2


def test_more_recipients_than_a_body_may_have_parts_are_too_many() -> None:
    result = convert(body("email.sent", to=[f"a{n}@example.com" for n in range(LIMITS.parts + 1)]))
    assert [(r.reason, r.part) for r in result.rejected] == [(Reason.OVERSIZE, None)]


def test_the_time_is_that_of_the_event_and_not_of_the_message() -> None:
    assert one(body(created_at="2026-11-01T00:00:00.000Z")).occurred_at == CREATED


@pytest.mark.parametrize("zone", ["Z", "+00", "+00:00", "+0000"])
def test_a_zone_may_be_written_in_any_of_four_ways(zone: str) -> None:
    text = json.dumps(
        {"type": "email.sent", "created_at": f"2026-11-02 09:15:00.894719{zone}", "data": {"to": "a@b.c"}}
    )
    event = one(text.encode())
    assert (event.occurred_at, event.occurred_precision) == ("2026-11-02T09:15:00.894719Z", "us")


def test_an_account_names_the_headers_that_hold_metadata_and_tags() -> None:
    headers = [{"name": "X-Mine", "value": '{"contact_id": "c-9"}'}, {"name": "X-Label", "value": "gold"}]
    account = AccountConfig(metadata_headers=("X-Mine",), tag_headers=("x-label",))
    (event,) = convert(body(headers=headers), account=account).events
    assert (event.contact, event.tags) == ("c-9", ("gold",))
    (other,) = convert(body(headers=headers)).events
    assert (other.metadata, other.tags) == ({}, ())


KEY = b"a key that was made for this test"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(b"another key").decode()


def signed(text: bytes, key: bytes = KEY, at: int = RECEIVED, id_: str = "msg_1") -> dict[str, str]:
    timestamp = str(at // MICROS)
    digest = hmac.new(key, f"{id_}.{timestamp}.".encode() + text, hashlib.sha256).digest()
    return {
        "svix-id": id_,
        "svix-timestamp": timestamp,
        "svix-signature": "v1," + base64.b64encode(digest).decode(),
    }


def outcome(text: bytes, headers: dict[str, str], *secrets: str) -> bool | Reason | None:
    result = convert(text, headers, AccountConfig(secrets=secrets or (SECRET,)))
    return result.events[0].verified if result.events else result.rejected[0].reason  # type: ignore[return-value]


def test_a_signature_fits_with_any_of_the_keys_with_and_without_prefix() -> None:
    text = body()
    assert outcome(text, signed(text), OTHER, SECRET) is True
    assert outcome(text, signed(text), SECRET.removeprefix("whsec_")) is True
    assert outcome(text, signed(text), OTHER) == Reason.SIGNATURE
    assert outcome(text, signed(text), "whsec_not base64") == Reason.SIGNATURE
    assert outcome(text, signed(text, key=b""), "whsec_") == Reason.SIGNATURE


def test_any_of_several_v1_signatures_is_enough_and_v1a_is_ignored() -> None:
    text = body()
    headers = signed(text)
    good = headers["svix-signature"]
    assert outcome(text, {**headers, "svix-signature": f"v1,AAAA v1a,BBBB {good}"}) is True
    assert outcome(text, {**headers, "svix-signature": good.replace("v1,", "v1a,")}) == Reason.SIGNATURE
    assert outcome(text, {**headers, "svix-signature": ""}) == Reason.SIGNATURE


@pytest.mark.parametrize("name", ["svix-id", "svix-timestamp", "svix-signature"])
def test_what_was_signed_cannot_be_changed_or_left_out(name: str) -> None:
    text = body()
    headers = signed(text)
    assert outcome(text, {**headers, name: headers[name] + "1"}) == Reason.SIGNATURE
    assert outcome(text, {other: value for other, value in headers.items() if other != name}) == Reason.SIGNATURE
    assert outcome(text.replace(b"ann@", b"bob@"), headers) == Reason.SIGNATURE


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(300, True), (-300, True), (301, Reason.SIGNATURE), (-301, Reason.SIGNATURE), (86_400, Reason.SIGNATURE)],
)
def test_the_window_is_five_minutes_around_received_at(age_s: int, expected: object) -> None:
    text = body()
    assert outcome(text, signed(text, at=RECEIVED - age_s * MICROS)) == expected
