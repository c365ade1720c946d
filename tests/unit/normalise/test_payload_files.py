"""Every file under ``tests/payloads``: a body and what it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stagepost.events import Event, encode_json, parse_rfc3339
from stagepost.normalise import AccountConfig, Normalised, Post, normalise

PAYLOADS = Path(__file__).parents[2] / "payloads"


def wire(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode_json(event))
    return found


def read(file: Path) -> tuple[dict[str, Any], Normalised]:
    case = json.loads(file.read_text(encoding="utf-8"))
    body = case["body"]
    post = Post(
        provider=file.parent.name,
        account="default",
        body=(body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))).encode(),
        headers=case["headers"],
        received_at=parse_rfc3339(case["received_at"]),
        url=case["url"],
    )
    return case, normalise(post, msgspec.convert(case.get("account", {}), AccountConfig))


def events_of(file: Path) -> list[dict[str, Any]]:
    return [wire(event) for event in read(file)[1].events]


DOCUMENTED = {
    "sparkpost": (
        "bounce delivery injection spam_complaint out_of_band policy_rejection delay sms_status click open "
        "initial_open amp_click amp_open amp_initial_open generation_failure generation_rejection list_unsubscribe link_unsubscribe "
        "relay_injection relay_rejection relay_delivery relay_tempfail relay_permfail ab_test_completed "
        "ab_test_cancelled success error"
    ),
    "brevo": (
        "request delivered deferred hard_bounce soft_bounce blocked invalid_email error opened unique_opened "
        "proxy_open unique_proxy_open click spam complaint unsubscribe unsubscribed list_addition contact_deleted contact_updated"
    ),
    "mailjet": "sent open click bounce blocked spam unsub",
    "resend": (
        "email.sent email.delivery_delayed email.delivered email.bounced email.suppressed email.failed email.opened "
        "email.clicked email.complained email.scheduled email.received contact.created contact.updated "
        "contact.deleted suppression.added suppression.removed domain.created domain.updated domain.deleted"
    ),
    "mailersend": (
        "activity.sent activity.delivered activity.soft_bounced activity.hard_bounced activity.opened "
        "activity.opened_unique activity.clicked activity.clicked_unique activity.unsubscribed activity.spam_complaint "
        "activity.deferred activity.survey_opened activity.survey_submitted sender_identity.verified maintenance.start "
        "maintenance.end"
    ),
    "mailtrap": "delivery|soft bounce|bounce|suspension|unsubscribe|open|spam complaint|click|reject",
}
"""What each provider's documentation lists."""


@pytest.mark.parametrize("provider", DOCUMENTED)
def test_every_documented_type_has_a_payload(provider: str) -> None:
    documented = DOCUMENTED[provider]
    names = documented.split("|") if "|" in documented else documented.split()
    told = {event["provider_event"] for file in PAYLOADS.glob(f"{provider}/*.json") for event in events_of(file)}
    assert set() == set(names) - told


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*/*.json")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_payload_becomes_what_its_file_says(file: Path) -> None:
    case, result = read(file)
    told = [wire(event) for event in result.events]
    # A field that is null in the file may as well be absent.
    assert case["expect"] == [
        {name: event.get(name) for name in expected} for event, expected in zip(told, case["expect"], strict=True)
    ]
    assert case["rejected"] == [{"part": rejected.part, "reason": rejected.reason} for rejected in result.rejected]
