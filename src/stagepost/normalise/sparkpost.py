"""SparkPost event webhooks (providers.md 1.5; https://developers.sparkpost.com/api/webhooks/).

An array of ``{"msys": {CLASS: {...}}}``, classes mixed; ``{"msys": {}}`` is a ping. The event's ``type`` decides, not
its class. Numbers are strings nearly everywhere. An example of an id: event 92356927693813856 for ann@example.com in
account ``default`` is the hash of ``["1", "sparkpost", "default", "92356927693813856", "ann@example.com"]``. Nothing is
signed: basic authentication or a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "sparkpost"
check = signatures.shared_secret

TYPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # type: type in the vocabulary, sub-fields
    "injection": ("email.sent", {}),
    "delay": ("email.deferred", {}),
    "delivery": ("email.delivered", {}),
    "bounce": ("email.bounced", {}),
    "out_of_band": ("email.bounced", {"asynchronous": True}),
    "policy_rejection": ("email.dropped", {"reason": "policy"}),
    "generation_rejection": ("email.dropped", {"reason": "policy"}),
    "generation_failure": ("email.failed", {}),
    # ``open`` is the pixel at the bottom, ``initial_open`` the one at the top: one look fires both.
    "open": ("email.opened", {}),
    "initial_open": ("email.opened", {"variant": "initial"}),
    "amp_open": ("email.opened", {"amp": True}),
    "amp_initial_open": ("email.opened", {"amp": True, "variant": "initial"}),
    "click": ("email.clicked", {}),
    "amp_click": ("email.clicked", {"amp": True}),
    "spam_complaint": ("email.complained", {}),
    "list_unsubscribe": ("email.unsubscribed", {"scope": "all", "method": "header"}),
    "link_unsubscribe": ("email.unsubscribed", {"scope": "all", "method": "link"}),
}
"""Everything else is ``email.unknown``, with a category from ``CATEGORIES`` or ``_BY_CLASS`` where one is known."""

BOUNCES: Mapping[int, tuple[str, dict[str, Any]]] = {
    # bounce_class of a bounce or out_of_band: type in the vocabulary, sub-fields
    1: ("email.bounced", {"bounce_class": "undetermined"}),
    10: ("email.bounced", {"bounce_class": "hard"}),
    20: ("email.bounced", {"bounce_class": "soft"}),
    21: ("email.bounced", {"bounce_class": "soft"}),
    22: ("email.bounced", {"bounce_class": "soft"}),
    23: ("email.bounced", {"bounce_class": "soft"}),
    24: ("email.bounced", {"bounce_class": "soft"}),
    25: ("email.dropped", {"reason": "policy"}),
    30: ("email.bounced", {"bounce_class": "hard"}),
    40: ("email.bounced", {"bounce_class": "soft"}),
    50: ("email.bounced", {"bounce_class": "block"}),
    51: ("email.bounced", {"bounce_class": "block"}),
    52: ("email.bounced", {"bounce_class": "block"}),
    53: ("email.bounced", {"bounce_class": "block"}),
    54: ("email.bounced", {"bounce_class": "block"}),
    60: ("email.replied", {"kind": "auto_reply"}),
    70: ("email.bounced", {"bounce_class": "soft"}),
    # Requests that people mailed to a list.
    80: ("email.subscribed", {"scope": "all"}),
    90: ("email.unsubscribed", {"scope": "all", "method": "reply"}),
    100: ("email.replied", {"kind": "challenge"}),
}

CATEGORIES: Mapping[str, str] = {
    "sms_status": "sms",
    "relay_injection": "inbound",
    "relay_rejection": "inbound",
    "relay_delivery": "inbound",
    "relay_tempfail": "inbound",
    "relay_permfail": "inbound",
    "ab_test_completed": "ab_test",
    "ab_test_cancelled": "ab_test",
}

_BY_CLASS = {"relay_event": "inbound", "ab_test_event": "ab_test", "ingest_event": "ingest"}
"""An ingest event's type is ``success`` or ``error``: only the class tells what of."""

_FEEDBACK = frozenset({"abuse", "fraud", "virus", "auth-failure"})


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The event of an element; none for a ping, None when nothing in it says a type."""
    msys = part.get("msys")
    if not isinstance(msys, dict):
        return None
    found = [
        _facts(type_, name, event)
        for name, event in msys.items()
        if isinstance(event, dict) and (type_ := values.text(event.get("type"))) is not None
    ]
    return found if found or not msys else None


def _facts(name: str, of_class: str, event: Mapping[str, Any]) -> Facts:
    type_, extra = _classified(name, of_class, event)
    event_id = values.text(event.get("event_id"))
    as_sent = values.text(event.get("raw_rcpt_to"))
    tags = values.strings(event.get("rcpt_tags"))
    url = values.text(event.get("target_link_url"))
    engaged = type_ in ("email.opened", "email.clicked", "email.unsubscribed")
    return Facts(
        type=type_,
        moment=times.unix(event.get("timestamp")) or times.iso(event.get("timestamp")),
        recipient=event.get("rcpt_to") or (as_sent.lower() if as_sent is not None else None),
        sent_as=as_sent,
        id_parts=(event_id,) if event_id is not None else _id_parts(name, event),
        provider_event=name,
        message=values.unbracketed(event.get("message_id")),
        metadata=values.mapping(event.get("rcpt_meta")),
        campaigns={"campaign_id": values.text(event.get("campaign_id")), "rcpt_tags": next(iter(tags), None)},
        url=url if type_ == "email.clicked" else None,
        verdict=_verdict(type_, event),
        tags=tags,
        extra={
            **extra,
            "provider_event_id": event_id,
            "batch": values.text(event.get("transmission_id")),
            "template": values.text(event.get("template_id")),
            "sending_domain": values.text(event.get("sending_domain")) or domain_of(event.get("friendly_from")),
            "link_id": values.text(event.get("target_link_name")),
            # Of a delivery it is the receiving server's address.
            "ip": truncated_ip(event.get("ip_address")) if engaged else None,
            "user_agent": values.text(event.get("user_agent")),
            "attempt": values.integer(event.get("num_retries")),
            "smtp": answers.smtp(_told(event), code=event.get("error_code")),
        },
    )


def _id_parts(name: str, event: Mapping[str, Any]) -> tuple[str, ...]:
    return name, *(values.raw(event.get(key)) for key in ("message_id", "timestamp", "target_link_url"))


def _told(event: Mapping[str, Any]) -> str | None:
    return values.text(event.get("raw_reason")) or values.text(event.get("reason"))


def _classified(name: str, of_class: str, event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if name not in TYPES:
        return "email.unknown", {"category": CATEGORIES.get(name) or _BY_CLASS.get(of_class, "other")}
    type_, extra = TYPES[name]
    if name in ("bounce", "out_of_band"):
        type_, of_bounce = BOUNCES.get(values.integer(event.get("bounce_class")) or 1, BOUNCES[1])
        return type_, {**of_bounce, **extra} if type_ == "email.bounced" else of_bounce
    if name == "generation_rejection" and "suppress" in (_told(event) or "").lower():
        return type_, {"reason": "suppressed"}
    if type_ in ("email.deferred", "email.failed"):
        return type_, {"reason": _told(event)}
    if name == "spam_complaint":
        return _complaint(values.raw(event.get("fbtype")).lower())
    return type_, extra


def _complaint(told: str) -> tuple[str, dict[str, Any]]:
    """A feedback loop also reports what people took out of the spam folder (RFC 5965)."""
    if told == "not-spam":
        return "email.unknown", {"category": "not_spam"}
    return "email.complained", {"feedback": told if told in _FEEDBACK else "other" if told else None}


def _verdict(type_: str, event: Mapping[str, Any]) -> Verdict:
    if type_ not in ("email.opened", "email.clicked"):
        return NO_VERDICT
    parsed = values.mapping(event.get("user_agent_parsed"))
    # False says only that this mail program does not prefetch: no statement about a person.
    prefetched = values.boolean(parsed.get("is_prefetched")) or None
    verdict = judge(event.get("user_agent"), is_open=type_ == "email.opened", flag=prefetched, flag_kind="prefetch")
    if verdict.kind is None and values.boolean(parsed.get("is_proxy")):
        return Verdict(verdict.machine, "image_proxy", verdict.reasons)
    return verdict
