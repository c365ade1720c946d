"""What is larger than a limit is refused whole or cut, and the limits are the installation's."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stagepost.normalise import Limits, Normalised, Post, normalise
from stagepost.normalise.limits import LIMITS, SHORT
from stagepost.settings import LimitSettings, Settings
from stagepost.wiring import limits_of

RECEIVED = 1_793_610_847_000_000
EVENT = {"event": "click", "email": "ann@example.com", "timestamp": 1_793_610_000}


def convert(body: Any, provider: str = "sendgrid", **limits: int) -> Normalised:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    post = Post(provider=provider, account="a", body=raw, headers={}, received_at=RECEIVED, limits=Limits(**limits))
    return normalise(post)


def reasons(result: Normalised) -> list[str]:
    return [rejected.reason for rejected in result.rejected]


def test_the_limits_of_the_settings_are_those_that_stand_beside_the_code() -> None:
    assert limits_of(Settings()) == LIMITS
    assert limits_of(Settings(limits=LimitSettings(parts=2_000, tags=7))) == Limits(parts=2_000, tags=7)


def test_no_setting_goes_below_what_is_never_measured() -> None:
    smallest = {
        name: next(each.ge for each in field.metadata if hasattr(each, "ge"))
        for name, field in LimitSettings.model_fields.items()
    }
    assert min(smallest[name] for name in ("metadata_bytes", "url_bytes", "string_bytes")) >= 4 * SHORT


def test_a_body_larger_deeper_or_of_more_parts_than_allowed_is_refused_whole() -> None:
    assert reasons(convert([EVENT], body_bytes=20)) == ["oversize"]
    deep = {**EVENT, "custom": [[[[]]]]}
    assert (reasons(convert([deep], depth=5)), reasons(convert([deep], depth=6))) == (["oversize"], [])
    assert (reasons(convert([EVENT] * 4, parts=3)), reasons(convert([EVENT] * 3, parts=3))) == (["oversize"], [])


def ses(recipients: int) -> dict[str, Any]:
    return {"eventType": "Send", "mail": {"destination": [f"a{n}@example.com" for n in range(recipients)]}}


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("ses", ses(4)),
        ("ses", {"Type": "Notification", "TopicArn": "t", "Message": json.dumps(ses(1)) * 4}),
        ("ses", {"records": [{"data": base64.b64encode(json.dumps(ses(1)).encode()).decode()}] * 4}),
        ("ses", "\n".join([json.dumps(ses(1))] * 4).encode()),
        ("resend", {"type": "email.sent", "data": {"to": [f"a{n}@example.com" for n in range(4)]}}),
        ("mailtrap", {"events": [EVENT] * 4}),
        ("mailgun", b"event=opened&a=1&b=2&c=3"),
        ("mandrill", b"mandrill_events=[{},{},{},{}]"),
        ("mandrill", [{}] * 4),
    ],
)
def test_parts_are_counted_in_whatever_carries_them(provider: str, body: Any) -> None:
    assert reasons(convert(body, provider, parts=3)) == ["oversize"]
    assert "oversize" not in reasons(convert(body, provider, parts=4))


def test_strings_urls_tags_and_metadata_are_cut_and_named() -> None:
    part = {
        **EVENT,
        "url": "https://example.com/" + "u" * 3_000,
        "reason": "r" * 3_000,
        "category": ["one", "two", "three"],
        **{f"k{n}": "v" * 900 for n in range(3)},
    }
    result = convert([part], url_bytes=2_500, string_bytes=2_200, tags=2, metadata_bytes=2_048, metadata_keys=9)
    (event,) = result.events
    assert event.cut == ("metadata", "smtp", "tags", "url")
    assert (len(event.url or ""), len(event.tags), list(event.metadata)) == (2_500, 2, ["k0", "k1"])
    (whole,) = convert([part], url_bytes=4_000, string_bytes=4_000).events
    assert (len(whole.url or ""), len(whole.tags), len(whole.metadata)) == (3_020, 3, 3)
    (few,) = convert([part], metadata_keys=1).events
    assert list(few.metadata) == ["k0"]


def test_an_id_beyond_its_limit_counts_as_absent() -> None:
    (event,) = convert([{**EVENT, "contact_id": "c" * 20, "campaign_id": "d" * 16}], id_bytes=16).events
    assert (event.contact[:2], event.campaign) == ("h:", "d" * 16)
