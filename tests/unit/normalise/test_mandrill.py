"""Mandrill: ids, the signature over URL and fields, forms; each type is in the grid."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from stagepost.events import Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")
AT = parse_rfc3339("2026-11-02T09:15:00Z") // 1_000_000
URL = "https://bridge.example/webhooks/mandrill/default"
KEY = "webhook-key"
CLICK = {
    "event": "click",
    "_id": "m1",
    "ts": AT,
    "url": "https://example.com/",
    "ip": "192.0.2.7",
    "msg": {"email": "ann@example.com", "ts": AT - 9_000},
}


def convert(
    fields: dict[str, str], account: AccountConfig | None = None, url: str | None = URL, **headers: str
) -> Normalised:
    named = {"content-type": "application/x-www-form-urlencoded"} | {k.replace("_", "-"): v for k, v in headers.items()}
    body = urlencode(fields).encode()
    return normalise(
        Post(provider="mandrill", account="default", body=body, headers=named, received_at=RECEIVED, url=url), account
    )


def events(*found: Any) -> dict[str, str]:
    return {"mandrill_events": json.dumps(found)}


def test_the_ids_are_hashes_of_event_message_time_link_and_full_address() -> None:
    (click,) = convert(events(CLICK)).events
    parts = ("click", "m1", str(AT), "https://example.com/", "192.0.2.7")
    assert click.id == stable_id("1", "mandrill", "default", *parts, "ann@example.com")
    entry = {"type": "denylist", "action": "add", "ts": AT, "reject": {"email": "ann@example.com", "reason": "spam"}}
    (sync,) = convert(events(entry)).events
    assert sync.id == stable_id("1", "mandrill", "default", "denylist add", "", str(AT), "", "", "ann@example.com")


def test_the_time_is_the_events_not_the_sends_and_former_opens_are_no_events() -> None:
    former = {**CLICK["msg"], "opens": [{"ts": AT - 50}], "clicks": [{"ts": AT - 40, "url": "https://b.example/"}]}  # type: ignore[dict-item]
    (event,) = convert(events({**CLICK, "msg": former})).events
    assert (event.type, event.occurred_at) == ("email.clicked", "2026-11-02T09:15:00.000Z")


def signature(fields: dict[str, str], url: str = URL, key: str = KEY) -> str:
    text = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha1).digest()).decode()


FIELDS = {"z": "", "b": "ü &=+%", **events(CLICK)}


def test_any_key_may_have_signed_the_url_and_the_sorted_fields() -> None:
    account = AccountConfig(secrets=("old", KEY))
    (event,) = convert(FIELDS, account, x_mandrill_signature=signature(FIELDS)).events
    assert event.verified is True


@pytest.mark.parametrize(
    ("url", "given"),
    [
        (None, signature(FIELDS)),
        (URL + "/", signature(FIELDS)),
        (URL, signature(FIELDS, key="other")),
        (URL, signature(events(CLICK))),
        (URL, signature(FIELDS, url="")),
        (URL, ""),
        (URL, "ü\udc80"),
    ],
)
def test_another_url_key_field_or_signature_does_not_fit(url: str | None, given: str) -> None:
    (rejected,) = convert(FIELDS, AccountConfig(secrets=(KEY,)), url, x_mandrill_signature=given).rejected
    assert rejected.reason == Reason.SIGNATURE


def test_a_ping_signed_with_the_test_key_passes_and_events_signed_with_it_do_not() -> None:
    account = AccountConfig(secrets=(KEY,))
    ping, real = events(), events(CLICK)
    test_key = "test-webhook"
    assert convert(ping, account, x_mandrill_signature=signature(ping, key=test_key)) == Normalised(without_event=1)
    assert convert(real, account, x_mandrill_signature=signature(real, key=test_key)).events == ()
