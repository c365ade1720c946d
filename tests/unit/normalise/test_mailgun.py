"""Mailgun: ids, the window of its signature and what legacy forms may hold; each type is in the grid."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from stagepost.events import DAY, HOUR, MICROS, Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise
from stagepost.normalise.mailgun import BOUNCES, SUPPRESSIONS, TYPES

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
AT = RECEIVED // MICROS - 300
KEY = "signing-key"


def convert(body: object, account: AccountConfig | None = None, received_at: int = RECEIVED) -> Normalised:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return normalise(
        Post(provider="mailgun", account="default", body=raw, headers={}, received_at=received_at), account
    )


def event(**data: Any) -> Event:
    (found,) = convert(
        {"event-data": {"event": "opened", "recipient": "ann@example.com", "timestamp": AT, **data}}
    ).events
    return found


def test_the_id_is_the_hash_of_the_worked_example() -> None:
    assert event(id="ev1").id == stable_id("1", "mailgun", "default", "ev1", "2026-11-02", "ann@example.com")


def test_an_id_that_is_used_again_on_another_day_is_another_event() -> None:
    assert event(id="ev1").id == event(id="ev1", timestamp=AT + 60).id
    assert event(id="ev1").id != event(id="ev1", timestamp=AT - 86_400).id


def test_a_legacy_post_is_known_by_its_token_else_by_what_it_says() -> None:
    fields = {"event": "clicked", "recipient": "ann@example.com", "timestamp": str(AT), "url": "https://a.example/"}
    (with_token,) = convert(urlencode({**fields, "token": "t1"})).events
    (without,) = convert(urlencode(fields)).events
    assert with_token.id == stable_id("1", "mailgun", "default", "t1", "ann@example.com")
    parts = ("clicked", "", str(AT), "https://a.example/")
    assert without.id == stable_id("1", "mailgun", "default", *parts, "ann@example.com")


@pytest.mark.parametrize("timestamp", [1e15 - 1, -1e14, "x", None, True, 1e300])
def test_a_time_without_a_date_is_no_obstacle_to_an_id(timestamp: Any) -> None:
    data = {"event": "opened", "recipient": "ann@example.com", "id": "ev1", "timestamp": timestamp}
    result = convert({"event-data": data})
    assert len(result.events) + len(result.rejected) == 1


def signed(age: int = 0, key: str = KEY, **block: Any) -> dict[str, Any]:
    timestamp, token = str((RECEIVED - age) // MICROS), "0a" * 25
    signature = hmac.new(key.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
    return {
        "signature": {"timestamp": timestamp, "token": token, "signature": signature, **block},
        "event-data": {"event": "delivered", "recipient": "ann@example.com", "timestamp": AT - 30 * 86_400},
    }


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, True), (8 * HOUR, True), (DAY, True), (DAY + MICROS, False), (-DAY, True), (-DAY - MICROS, False)],
)
def test_the_window_is_24_hours_both_ways_against_received_at(age: int, expected: bool) -> None:
    assert (len(convert(signed(age), AccountConfig(secrets=("old", KEY))).events) == 1) is expected


@pytest.mark.parametrize(
    "block",
    [
        {"signature": "0" * 64},
        {"signature": None},
        {"token": "0b" * 25},
        {"token": ""},
        {"timestamp": "1"},
        {"timestamp": "ⅷ"},
        {"timestamp": str(AT) + "."},
        {"signature": "\ud800"},
    ],
)
def test_a_changed_block_does_not_fit(block: dict[str, Any]) -> None:
    (rejected,) = convert(signed(**block), AccountConfig(secrets=(KEY,))).rejected
    assert (rejected.reason, rejected.part) == (Reason.SIGNATURE, None)


def test_a_post_without_a_block_is_not_verified_and_the_parent_account_may_have_signed() -> None:
    account = AccountConfig(secrets=(KEY,))
    assert convert({"event-data": signed()["event-data"]}, account).events == ()
    child = signed(key="child")
    parent = signed()["signature"]
    for given in (parent, parent["signature"]):
        child["signature"]["parent-signature"] = given
        assert [each.verified for each in convert(child, account).events] == [True]


def test_every_event_of_an_array_must_be_signed() -> None:
    account = AccountConfig(secrets=(KEY,))
    assert len(convert([signed(), signed(HOUR)], account).events) == 2
    assert convert([signed(), signed(key="other")], account).events == ()


def test_the_senders_variables_of_a_form_cannot_change_what_is_signed() -> None:
    pairs = [("token", "mine"), ("event", "opened"), ("recipient", "ann@example.com"), ("order", "7")]
    block = signed()["signature"]
    body = urlencode([*pairs, *block.items()])
    (found,) = convert(body, AccountConfig(secrets=(KEY,))).events
    assert (found.verified, found.metadata) == (True, {"order": "7"})


def test_tables_speak_the_vocabulary() -> None:
    assert set(BOUNCES.values()) <= {"hard", "soft", "block", "undetermined"}
    assert set(SUPPRESSIONS.values()) <= {"bounced", "complained", "unsubscribed", "policy"}
    assert all(type_.startswith("email.") for type_ in TYPES.values())


def test_several_addresses_of_a_rejected_mail_are_candidates() -> None:
    headers = {"to": "Ann <ann@example.com>, bob@example.com"}
    (found,) = convert({"event-data": {"event": "rejected", "timestamp": AT, "message": {"headers": headers}}}).events
    assert (found.recipient, found.recipient_certainty) == ("ann@example.com", "candidate")
