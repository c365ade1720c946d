"""Mailtrap webhooks (https://docs.mailtrap.io/email-api-smtp/webhooks, providers.md 1.11).

``{"events": [...]}`` or JSON lines, up to 500 events. An example of an id: event bede7236 of ann@example.com in account
``default`` is the hash of ``["1", "mailtrap", "default", "bede7236", "ann@example.com"]``. Signed: hex HMAC-SHA256 of
the raw body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.events import Reason, Rejected
from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import truncated_ip
from stagepost.normalise.bodies import json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge
from stagepost.normalise.post import Post

NAME = "mailtrap"
check = signatures.mailtrap

TYPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # event, words joined by ``_``: type in the vocabulary, sub-fields
    "delivery": ("email.delivered", {}),
    # Delivery is tried again, up to ten times.
    "soft_bounce": ("email.deferred", {}),
    # Sent from a domain that is not verified yet: checked again, then sent or rejected.
    "suspension": ("email.deferred", {}),
    "bounce": ("email.bounced", {}),
    "reject": ("email.dropped", {}),
    "open": ("email.opened", {}),
    "click": ("email.clicked", {}),
    "spam": ("email.complained", {}),
    "spam_complaint": ("email.complained", {}),
    # Mailtrap stops mail from this domain, not from the account's others.
    "unsubscribe": ("email.unsubscribed", {"scope": "domain"}),
}
"""Everything else is ``email.unknown``; the activity log's are about the account."""

_ACTIVITY_LOG = "activity_log."

BOUNCE_CATEGORIES: Mapping[str, str] = {
    # bounce_category, folded: class in the vocabulary
    "badrecipient": "hard",
    "overquota": "soft",
    "timeout": "soft",
    "transientfail": "soft",
    "greylisting": "soft",
    "dnsfail": "soft",
    "serverfail": "soft",
    "generalfail": "undetermined",
    "other": "undetermined",
    "badsender": "block",
    "block": "block",
    "content": "block",
    "relayfail": "block",
    "serverpolicy": "block",
    "spam": "block",
    "spam_gmail": "block",
    "verifyfail": "block",
}


def parts(post: Post) -> list[Any] | Rejected:
    """The elements of ``events``, in every line that has them; other lines are events themselves."""
    lines = json_parts(post.body, post.limits)
    if isinstance(lines, Rejected):
        return lines
    found: list[Any] = []
    for line in lines:
        events = line.get("events") if isinstance(line, dict) and "event" not in line else None
        found += events if isinstance(events, list) else [line]
    if len(found) > post.limits.parts:
        return Rejected(Reason.OVERSIZE, f"{len(found)} parts, more than {post.limits.parts}")
    return found


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of an element; None when it says no type."""
    event = values.text(part.get("event"))
    if event is None:
        return None
    type_, extra = _classified(event, part)
    event_id = values.text(part.get("event_id"))
    category = values.text(part.get("category"))
    url = values.text(part.get("url"))
    return [
        Facts(
            type=type_,
            moment=times.unix(part.get("timestamp")),
            recipient=part.get("email"),
            id_parts=(event_id,)
            if event_id is not None
            else (event, values.raw(part.get("message_id")), values.raw(part.get("timestamp")), url or ""),
            provider_event=event,
            message=values.unbracketed(part.get("message_id")),
            metadata=values.mapping(part.get("custom_variables")),
            campaigns={"category": category},
            url=url if type_ == "email.clicked" else None,
            verdict=_verdict(type_, part),
            tags=() if category is None else (category,),
            extra={
                **extra,
                "provider_event_id": event_id,
                "stream": values.text(part.get("sending_stream")),
                "sending_domain": values.text(part.get("sending_domain_name")),
                "ip": truncated_ip(part.get("ip")),
                "user_agent": values.text(part.get("user_agent")),
                "smtp": answers.smtp(part.get("response"), code=part.get("response_code")),
            },
        )
    ]


def _classified(event: str, part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    name = event.lower().replace(" ", "_")
    if name not in TYPES:
        return "email.unknown", {"category": "account" if name.startswith(_ACTIVITY_LOG) else "other"}
    type_, extra = TYPES[name]
    told = values.text(part.get("reason"))
    if name == "bounce":
        category = values.raw(part.get("bounce_category")).lower()
        return type_, {"bounce_class": BOUNCE_CATEGORIES.get(category, "undetermined")}
    if name == "reject":
        return type_, {"reason": "suppressed" if "suppress" in (told or "").lower() else "policy"}
    if type_ == "email.deferred":
        return type_, {"reason": told or values.text(part.get("response"))}
    if name == "unsubscribe":
        return type_, {**extra, "scope_id": values.text(part.get("sending_domain_name"))}
    return type_, extra


def _verdict(type_: str, part: Mapping[str, Any]) -> Verdict:
    if type_ not in ("email.opened", "email.clicked"):
        return NO_VERDICT
    return judge(part.get("user_agent"), is_open=type_ == "email.opened")
