"""SendGrid Event Webhook (providers.md 1.1; https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event).

An array of flat objects; custom arguments lie among the known keys. An example of an id: a click of message ``m1`` on
``https://example.com/`` at 1700000000 by ann@example.com in account ``default`` is the hash of ``["1", "sendgrid",
"default", "click", "m1", "1700000000", "https://example.com/", "", "", "", "ann@example.com"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "sendgrid"
check = signatures.sendgrid

TYPES: Mapping[str, str] = {
    "processed": "email.sent",
    "deferred": "email.deferred",
    "delivered": "email.delivered",
    "bounce": "email.bounced",
    "dropped": "email.dropped",
    "open": "email.opened",
    "click": "email.clicked",
    "spamreport": "email.complained",
    "unsubscribe": "email.unsubscribed",
    "group_unsubscribe": "email.unsubscribed",
    "group_resubscribe": "email.resubscribed",
}
"""Everything else is ``email.unknown``, with the category below where one is known."""

_UNKNOWN = {"account_status_change": "account", "received": "inbound"}

_BOUNCE_CLASS = {"": "hard", "bounce": "hard", "blocked": "block", "expired": "soft"}
"""By ``type`` of a bounce."""

_SENDER_FAULTS = ("reputation", "content", "frequency")
"""Beginnings of ``bounce_classification`` that are about the sender, whatever ``type`` says; case varies."""

_DROPPED = (
    # beginning of ``reason``, folded: reason in the vocabulary
    ("spam content", "content"),
    ("unsubscribed address", "unsubscribed"),
    ("bounced address", "bounced"),
    ("spam reporting address", "complained"),
    ("invalid smtpapi header", ""),  # not dropped but failed
    ("invalid", "invalid"),
    ("recipient list over package quota", "quota"),
)

_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]] | tuple[()]] = {
    **dict.fromkeys(
        "email timestamp event sg_message_id category url url_offset reason response status type tls cert_err send_at "
        "date newsletter ip_pool pool sg_machine_open sg_content_type bounce_classification mc_stats mc_pod_id "
        "phase_id mc_auto_id mc_auto_step_id mc_auto_name domain from subject account_id".split(),
        (),
    ),
    "sg_event_id": ("provider_event_id", values.text),
    "smtp-id": ("rfc_message_id", values.unbracketed),
    "asm_group_id": ("list_id", values.text),
    "ip": ("ip", truncated_ip),
    "useragent": ("user_agent", values.text),
    "attempt": ("attempt", values.integer),
    "sg_template_id": ("template", values.text),
    "singlesend_name": ("campaign_name", values.text),
}
"""Keys of SendGrid's own: the field that stands for one, and how it is taken; every other key is the sender's."""


_OTHERWISE = (("template_id", "template"), ("marketing_campaign_name", "campaign_name"))
"""Keys that stand in where another left the field empty."""

_IDENTITY = ("timestamp", "url", "asm_group_id", "attempt", "reason")
"""What follows event and message in an id."""

_KNOWN_BEGINNINGS = ("sg_template_", "singlesend_", "template_", "marketing_campaign_")


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of an element; None when it says no type."""
    get = part.get
    event = values.text(get("event"))
    if event is None:
        return None
    type_, extra = _classified(event, part)
    message = _message(part)
    metadata = {}
    for key, value in part.items():
        field = _FIELDS.get(key)
        if field:
            name, taken = field
            extra[name] = taken(value)
        elif field is None and not key.startswith(_KNOWN_BEGINNINGS):
            metadata[key] = value
    for key, name in _OTHERWISE:
        if key in part and extra.get(name) is None:
            extra[name] = values.text(part[key])
    if "reason" in part or "response" in part or "status" in part:
        extra["smtp"] = answers.smtp(values.text(get("reason")) or get("response"), enhanced=get("status"))
    tags = values.strings(get("category"))
    return [
        Facts(
            type=type_,
            moment=times.unix(get("timestamp")),
            recipient=get("email"),
            id_parts=(
                event,
                message or "",
                *[values.raw(found) if (found := get(key)) is not None else "" for key in _IDENTITY],
            ),
            provider_event=event,
            message=message,
            metadata=metadata,
            campaigns={
                "singlesend_id": get("singlesend_id"),
                "marketing_campaign_id": get("marketing_campaign_id"),
                "newsletter.newsletter_id": values.mapping(get("newsletter")).get("newsletter_id"),
                "category": tags[0] if tags else None,
            },
            url=values.text(get("url")) if event == "click" else None,
            verdict=_verdict(event, part),
            tags=tags,
            extra=extra,
        )
    ]


def _classified(event: str, part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    type_ = TYPES.get(event, "email.unknown")
    if event == "bounce":
        asynchronous = values.text(part.get("sg_message_id")) is None or None
        return type_, {"bounce_class": _bounce_class(part), "asynchronous": asynchronous}
    if event == "dropped":
        return _dropped(part)
    if event == "unsubscribe":
        # Of everything, also after a group send (sendgrid/docs#4746).
        return type_, {"scope": "all"}
    if event in ("group_unsubscribe", "group_resubscribe"):
        return type_, {"scope": "group", "scope_id": values.text(part.get("asm_group_id"))}
    if event == "deferred":
        return type_, {"reason": values.text(part.get("response")) or values.text(part.get("reason"))}
    if type_ == "email.unknown":
        return type_, {"category": _UNKNOWN.get(event, "other")}
    return type_, {}


def _bounce_class(part: Mapping[str, Any]) -> str:
    classification = values.raw(part.get("bounce_classification")).lower()
    if classification.startswith(_SENDER_FAULTS):
        return "block"
    return _BOUNCE_CLASS.get(values.raw(part.get("type")).lower(), "undetermined")


def _dropped(part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    reason = values.raw(part.get("reason")).lower()
    for beginning, found in _DROPPED:
        if reason.startswith(beginning):
            return ("email.dropped", {"reason": found}) if found else ("email.failed", {"reason": reason})
    return "email.dropped", {"reason": "expired" if values.raw(part.get("type")).lower() == "expired" else "other"}


def _message(part: Mapping[str, Any]) -> str | None:
    """Of ``sg_message_id`` what is before ``.filter`` or ``.recvd``; else of ``smtp-id`` before ``@``; else all."""
    whole = values.text(part.get("sg_message_id"))
    if whole is not None and not whole.startswith("filter"):
        for mark in (".filter", ".recvd"):
            head, found, _ = whole.partition(mark)
            if found:
                return head or None
    smtp_id = values.unbracketed(part.get("smtp-id"))
    return smtp_id.partition("@")[0] or None if smtp_id is not None else values.unbracketed(whole)


def _verdict(event: str, part: Mapping[str, Any]) -> Verdict:
    if event not in ("open", "click"):
        return NO_VERDICT
    flag = values.boolean(part.get("sg_machine_open")) if event == "open" else None
    return judge(part.get("useragent"), is_open=event == "open", flag=flag, flag_kind="privacy_proxy")
