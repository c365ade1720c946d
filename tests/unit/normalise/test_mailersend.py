"""MailerSend: ids, and the signature over raw bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from msgspec import UNSET

from stagepost.events import Event, Reason, parse_rfc3339, stable_id
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

RECEIVED = parse_rfc3339("2026-11-02T09:20:00Z")


def body(type_: str = "activity.delivered", **data: Any) -> bytes:
    found = {"id": "a1", "email": {"recipient": {"email": "ann@example.com"}, "message": {"id": "m1"}}, **data}
    return json.dumps({"type": type_, "created_at": "2026-11-02T09:15:00.000000Z", "data": found}).encode()


def convert(text: bytes, account: AccountConfig | None = None, **headers: str) -> Normalised:
    post = Post(provider="mailersend", account="default", body=text, headers=headers, received_at=RECEIVED)
    return normalise(post, account)


def one(text: bytes) -> Event:
    (event,) = convert(text).events
    return event


def test_the_id_is_that_of_the_activity() -> None:
    assert one(body()).id == stable_id("1", "mailersend", "default", "a1", "ann@example.com")


def test_without_an_activity_type_and_time_make_the_id() -> None:
    event = one(body("maintenance.start", id=None, email=None))
    parts = ("maintenance.start", "2026-11-02T09:15:00.000000Z")
    assert event.id == stable_id("1", "mailersend", "default", *parts, "")


def test_a_soft_bounce_is_final() -> None:
    event = one(body("activity.soft_bounced"))
    assert (event.type, event.bounce_class) == ("email.bounced", "soft")


def test_an_account_that_gets_only_unique_events_counts_them() -> None:
    (event,) = convert(body("activity.opened_unique"), AccountConfig(variants="count")).events
    assert event.variant is UNSET
    assert event.first is True
    assert one(body("activity.opened_unique")).variant == "unique"


def test_an_unknown_domain_is_named_by_its_number() -> None:
    text = json.loads(body("activity.unsubscribed"))
    event = one(json.dumps({**text, "domain_id": "7nxe"}).encode())
    assert (event.scope, event.scope_id) == ("domain", "7nxe")


ESCAPED = body().replace(b"m1", rb"a\/b")
"""MailerSend escapes slashes: a body that was decoded and encoded again has another signature."""


def signature(text: bytes, key: str = "key") -> str:
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest()


def outcome(text: bytes, given: str | None, *secrets: str) -> bool | Reason | None:
    headers = {} if given is None else {"signature": given}
    result = convert(text, AccountConfig(secrets=secrets or ("key",)), **headers)
    return result.events[0].verified if result.events else result.rejected[0].reason  # type: ignore[return-value]


def test_the_signature_is_over_the_raw_bytes_with_any_of_the_keys() -> None:
    assert outcome(ESCAPED, signature(ESCAPED)) is True
    assert outcome(ESCAPED, signature(ESCAPED).upper(), "old", "key") is True
    assert outcome(ESCAPED, signature(ESCAPED, "other")) == Reason.SIGNATURE
    assert outcome(json.dumps(json.loads(ESCAPED)).encode(), signature(ESCAPED)) == Reason.SIGNATURE
    assert outcome(ESCAPED, None) == Reason.SIGNATURE
    assert outcome(ESCAPED, "not hex") == Reason.SIGNATURE


def test_a_test_post_passes_without_a_signature() -> None:
    text = b'{"type": "webhook.test", "data": {}}'
    assert convert(text, AccountConfig(secrets=("key",))) == Normalised(without_event=1)
