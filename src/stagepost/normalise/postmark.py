"""Postmark webhooks (providers.md 1.3; https://postmarkapp.com/developer/webhooks/webhooks-overview).

One object a post, told apart by ``RecordType``; a Bounce has a ``Type`` that spans deferral, reply, unsubscribe,
complaint and failure. An example of an id: bounce 42 of ann@example.com in account ``default`` is the hash of ``["1",
"postmark", "default", "Bounce", "42", "ann@example.com"]``. Nothing is signed: basic authentication or a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "postmark"
check = signatures.shared_secret

TYPES: Mapping[str, str] = {
    "Delivery": "email.delivered",
    "Open": "email.opened",
    "Click": "email.clicked",
    "SpamComplaint": "email.complained",
    "SMTPApiError": "email.failed",
    "SMTP API Error": "email.failed",
}
"""Record types with one meaning; Bounce and SubscriptionChange are below, everything else is ``email.unknown``."""

BOUNCES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # Type: type in the vocabulary, sub-fields
    "HardBounce": ("email.bounced", {"bounce_class": "hard"}),
    "SoftBounce": ("email.bounced", {"bounce_class": "soft"}),
    "Blocked": ("email.bounced", {"bounce_class": "block"}),
    # Blocked or filed as spam by the receiver: not a person's complaint.
    "SpamNotification": ("email.bounced", {"bounce_class": "block"}),
    "VirusNotification": ("email.bounced", {"bounce_class": "block"}),
    "DMARCPolicy": ("email.bounced", {"bounce_class": "block"}),
    "Unknown": ("email.bounced", {"bounce_class": "undetermined"}),
    "Transient": ("email.deferred", {"reason": "transient"}),
    "DnsError": ("email.deferred", {"reason": "dns"}),
    "OpenRelayTest": ("email.deferred", {"reason": "open relay test"}),
    "BadEmailAddress": ("email.dropped", {"reason": "invalid"}),
    "ManuallyDeactivated": ("email.dropped", {"reason": "suppressed"}),
    "Unconfirmed": ("email.dropped", {"reason": "policy"}),
    "SMTPApiError": ("email.failed", {"reason": "smtp api"}),
    "TemplateRenderingFailed": ("email.failed", {"reason": "template"}),
    "SpamComplaint": ("email.complained", {}),
    "Unsubscribe": ("email.unsubscribed", {"scope": "stream"}),
    "Subscribe": ("email.subscribed", {"scope": "stream"}),
    "AutoResponder": ("email.replied", {"kind": "auto_reply"}),
    "AddressChange": ("email.replied", {"kind": "address_change"}),
    "ChallengeVerification": ("email.replied", {"kind": "challenge"}),
    "InboundError": ("email.unknown", {"category": "inbound"}),
}

_TIMES = {
    "Delivery": "DeliveredAt",
    "Bounce": "BouncedAt",
    "SpamComplaint": "BouncedAt",
    "Open": "ReceivedAt",
    "Click": "ReceivedAt",
    "SubscriptionChange": "ChangedAt",
    "Inbound": "Date",
}

_SUPPRESSED = {"HardBounce": "bounced", "SpamComplaint": "complained"}
"""Reasons of a SubscriptionChange that tell of another event again: it is counted once, there."""


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of a post; None when it says no type."""
    record = values.text(part.get("RecordType"))
    if record is None:
        return None
    type_, extra = _classified(record, part)
    time = part.get(_TIMES.get(record, ""))
    number = values.text(part.get("ID"))
    message = values.text(part.get("MessageID"))
    tag = values.text(part.get("Tag"))
    stream = values.text(part.get("MessageStream"))
    if extra.get("scope") == "stream":
        extra["scope_id"] = stream
    event = f"{record}/{part['Type']}" if record == "Bounce" and values.text(part.get("Type")) else record
    return [
        Facts(
            type=type_,
            moment=times.iso(time),
            recipient=part.get("Recipient") or part.get("Email"),
            id_parts=_id_parts(record, number, part, message, time),
            provider_event=event,
            message=message,
            metadata=values.mapping(part.get("Metadata")),
            campaigns={"tag": tag},
            url=values.text(part.get("OriginalLink")) if record == "Click" else None,
            first=values.boolean(part.get("FirstOpen")) if record == "Open" else None,
            verdict=_verdict(record, part),
            tags=() if tag is None else (tag,),
            extra={
                **extra,
                "provider_event_id": number,
                "stream": stream,
                "sending_domain": domain_of(part.get("From")) if record in ("Bounce", "SpamComplaint") else None,
                "ip": truncated_ip(values.mapping(part.get("Geo")).get("IP")),
                "user_agent": values.text(part.get("UserAgent")),
                "smtp": answers.smtp(values.text(part.get("Details")) or part.get("Description")),
            },
        )
    ]


def _id_parts(
    record: str, number: str | None, part: Mapping[str, Any], message: str | None, time: Any
) -> tuple[str, ...]:
    if number is not None:
        return record, number
    return (
        record,
        message or "",
        values.raw(time),
        values.raw(part.get("OriginalLink")),
        values.raw(part.get("SuppressSending")),
    )


def _classified(record: str, part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if record == "Bounce":
        type_, extra = BOUNCES.get(values.raw(part.get("Type")), ("email.unknown", {"category": "other"}))
        return type_, dict(extra)
    if record == "SubscriptionChange":
        return _subscription(part)
    if record in TYPES:
        return TYPES[record], {}
    return "email.unknown", {"category": "inbound" if record == "Inbound" else "other"}


def _subscription(part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    method = "link" if part.get("Origin") == "Recipient" else "api"
    if values.boolean(part.get("SuppressSending")) is False:
        return "email.resubscribed", {"scope": "stream", "method": method}
    reason = values.raw(part.get("SuppressionReason"))
    if reason in _SUPPRESSED:
        return "email.suppressed", {"action": "add", "reason": _SUPPRESSED[reason]}
    return "email.unsubscribed", {"scope": "stream", "method": method}


def _verdict(record: str, part: Mapping[str, Any]) -> Verdict:
    if record not in ("Open", "Click"):
        return NO_VERDICT
    return judge(part.get("UserAgent"), is_open=record == "Open")
