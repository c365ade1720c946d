"""Resend webhooks (providers.md 1.9; https://resend.com/docs/dashboard/webhooks/event-types).

One ``{type, created_at, data}`` a post. ``data.to`` are the recipients of the message: which of them acted is not said.
An example of an id: a delivery to ann@example.com with header ``svix-id: msg_1`` in account ``default`` is the hash of
``["1", "resend", "default", "msg_1", "ann@example.com"]``. Signed with Standard Webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "resend"
check = signatures.resend

TYPES: Mapping[str, str] = {
    "email.sent": "email.sent",
    "email.delivery_delayed": "email.deferred",
    "email.delivered": "email.delivered",
    "email.bounced": "email.bounced",
    "email.suppressed": "email.dropped",
    "email.failed": "email.failed",
    "email.opened": "email.opened",
    "email.clicked": "email.clicked",
    "email.complained": "email.complained",
    "suppression.added": "email.suppressed",
    "suppression.removed": "email.suppressed",
}
"""``contact.updated`` is a snapshot and read below; everything else is ``email.unknown``."""

CATEGORIES: Mapping[str, str] = {"email.received": "inbound", "email.scheduled": "other"}
_FAMILIES = {"contact": "contact", "domain": "domain"}
"""By the part of a type before the dot."""

BOUNCES: Mapping[str, str] = {"permanent": "hard", "transient": "soft", "undetermined": "undetermined"}
"""By ``bounce.type``, in SES's words."""

ORIGINS: Mapping[str, str] = {"bounce": "bounced", "complaint": "complained", "manual": "suppressed"}

_ONE_ACTED = ("email.opened", "email.clicked")
"""Of several recipients one acted: one event, for the first, rather than one for each."""


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """An event for each recipient of the message; None when the object says no type."""
    name = values.text(part.get("type"))
    if name is None:
        return None
    data = values.mapping(part.get("data"))
    told_once = _facts(name, part, data, headers)
    recipients = _recipients(data)
    if told_once.type in _ONE_ACTED:
        certainty = "exact" if len(recipients) == 1 else "candidate"
        return [structs.replace(told_once, recipient=recipients[0], certainty=certainty)]
    certainty = "exact" if len(recipients) == 1 or told_once.type == "email.sent" else "candidate"
    return [structs.replace(told_once, recipient=recipient, certainty=certainty) for recipient in recipients]


def _recipients(data: Mapping[str, Any]) -> tuple[str | None, ...]:
    """``to`` of messages, ``email`` of contacts and suppressions; one unknown recipient when there is none."""
    named = values.strings(data.get("to")) or values.strings(data.get("email"))
    return tuple(dict.fromkeys(named)) or (None,)


def _facts(name: str, part: Mapping[str, Any], data: Mapping[str, Any], headers: Mapping[str, str]) -> Facts:
    type_, extra = _classified(name, data)
    # A header, unlike a body, may hold what is no text.
    svix_id = values.text(headers.get("svix-id", "").encode("utf-8", "replace").decode())
    click, opened = values.mapping(data.get("click")), values.mapping(data.get("open"))
    acted = click or opened
    link = values.text(click.get("link"))
    tags = _named(data.get("tags"))
    list_id = values.text(data.get("audience_id"))
    return Facts(
        type=type_,
        moment=times.iso(part.get("created_at")),
        recipient=None,
        id_parts=(svix_id,)
        if svix_id is not None
        else (name, values.raw(data.get("email_id")), values.raw(part.get("created_at")), link or ""),
        provider_event=name,
        message=values.text(data.get("email_id")),
        metadata=tags,
        campaigns={
            "broadcast_id": values.text(data.get("broadcast_id")),
            "campaign": values.text(tags.get("campaign")),
            "category": values.text(tags.get("category")),
        },
        url=link if name == "email.clicked" else None,
        verdict=_verdict(name, acted),
        mail_headers={name.lower(): values.strings(found) for name, found in _named(data.get("headers")).items()},
        extra={
            **extra,
            "provider_event_id": svix_id,
            "rfc_message_id": values.unbracketed(data.get("message_id")),
            "template": values.text(data.get("template_id")),
            "list_id": list_id,
            "sending_domain": domain_of(data.get("from")),
            "ip": truncated_ip(acted.get("ipAddress")),
            "user_agent": values.text(acted.get("userAgent")),
            "smtp": answers.smtp(values.mapping(data.get("bounce")).get("message")),
        },
    )


def _classified(name: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if name == "contact.updated":
        return _snapshot(data)
    if name not in TYPES:
        return "email.unknown", {"category": CATEGORIES.get(name) or _FAMILIES.get(name.split(".")[0], "other")}
    type_ = TYPES[name]
    if name == "email.bounced":
        return _bounce(values.mapping(data.get("bounce")))
    if name == "email.suppressed":
        return type_, {"reason": _suppression(values.mapping(data.get("suppressed"))) or "suppressed"}
    if name == "email.failed":
        return type_, {"reason": values.text(values.mapping(data.get("failed")).get("reason"))}
    if type_ == "email.suppressed":
        reason = ORIGINS.get(values.raw(data.get("origin")).lower(), "suppressed")
        return type_, {"action": "add" if name == "suppression.added" else "remove", "reason": reason}
    return type_, {}


def _snapshot(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """An administrator's or an import's doing, hence ``api``."""
    unsubscribed = values.boolean(data.get("unsubscribed"))
    if unsubscribed is None:
        return "email.unknown", {"category": "contact"}
    type_ = "email.unsubscribed" if unsubscribed else "email.resubscribed"
    return type_, {"scope": "list", "scope_id": values.text(data.get("audience_id")), "method": "api"}


def _bounce(bounce: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Older accounts report as bounced what was never sent: the suppression list's."""
    dropped = _suppression(bounce)
    if dropped is not None:
        return "email.dropped", {"reason": dropped}
    return "email.bounced", {"bounce_class": BOUNCES.get(values.raw(bounce.get("type")).lower(), "undetermined")}


def _suppression(told: Mapping[str, Any]) -> str | None:
    """The reason of a drop, when SES's words (where one of them is missing also the text) name a suppression."""
    words = [values.raw(told.get(key)) for key in ("type", "subType")]
    folded = " ".join(words if all(words) else [*words, values.raw(told.get("message"))]).lower()
    if "emailvalidation" in folded:
        return "invalid"
    return "suppressed" if "suppress" in folded else None


def _verdict(name: str, acted: Mapping[str, Any]) -> Verdict:
    if name not in _ONE_ACTED:
        return NO_VERDICT
    return judge(acted.get("userAgent"), is_open=name == "email.opened")


def _named(value: Any) -> dict[str, Any]:
    """An object, or a list of ``{name, value}``: documentation and wire differ."""
    if isinstance(value, list):
        entries = [values.mapping(entry) for entry in value]
        return {name: entry.get("value") for entry in entries if (name := values.text(entry.get("name"))) is not None}
    return dict(values.mapping(value))
