"""Mandrill, now Mailchimp Transactional (providers.md 1.6; https://mailchimp.com/developer/transactional/docs/webhooks/).

A form post whose field ``mandrill_events`` holds an array of up to 1,000 events; sync events tell of the lists. An
example of an id: a click of message ``m1`` at 1700000000 on ``https://example.com/`` from 192.0.2.7 by ann@example.com
in account ``default`` is the hash of ``["1", "mandrill", "default", "click", "m1", "1700000000",
"https://example.com/", "192.0.2.7", "ann@example.com"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.events import Reason, Rejected
from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.bodies import Form, form_of, json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, judge
from stagepost.normalise.post import Post

NAME = "mandrill"

TYPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # event: type in the vocabulary, sub-fields
    "send": ("email.sent", {}),
    "deferral": ("email.deferred", {}),
    "delivered": ("email.delivered", {}),
    "hard_bounce": ("email.bounced", {"bounce_class": "hard"}),
    # Final, unlike other providers' soft bounces.
    "soft_bounce": ("email.bounced", {"bounce_class": "soft"}),
    "reject": ("email.dropped", {}),
    "open": ("email.opened", {}),
    "click": ("email.clicked", {}),
    "spam": ("email.complained", {}),
    "unsub": ("email.unsubscribed", {"scope": "all"}),
    "inbound": ("email.unknown", {"category": "inbound"}),
}
"""Everything else is ``email.unknown``."""

SYNCS: Mapping[tuple[str, str], tuple[str, dict[str, Any]]] = {
    # (type, action) of a sync event: type in the vocabulary, sub-fields
    ("denylist", "add"): ("email.suppressed", {"action": "add"}),
    ("denylist", "change"): ("email.suppressed", {"action": "add"}),
    ("denylist", "remove"): ("email.suppressed", {"action": "remove"}),
    # What is put on the allow list leaves the deny list; leaving the allow list suppresses nobody.
    ("allowlist", "add"): ("email.suppressed", {"action": "remove"}),
    ("allowlist", "change"): ("email.unknown", {"category": "other"}),
    ("allowlist", "remove"): ("email.unknown", {"category": "other"}),
}

_OLD_NAMES = {"blacklist": "denylist", "whitelist": "allowlist"}

REASONS: Mapping[str, str] = {
    # reason of a rejection or of an entry: reason in the vocabulary
    "hard-bounce": "bounced",
    "soft-bounce": "bounced",
    "spam": "complained",
    "unsub": "unsubscribed",
    "custom": "suppressed",
    "invalid": "invalid",
    "invalid-sender": "policy",
    "unsigned": "policy",
    "rule": "policy",
    "recipient-domain-policy": "policy",
    "test-mode-limit": "quota",
}


def parts(post: Post) -> list[Any] | Rejected:
    """Elements of the field ``mandrill_events``; of the body itself where that is the array already."""
    form = form_of(post.body, post.headers.get("content-type", ""), post.limits)
    if not isinstance(form, Form):
        return form if isinstance(form, Rejected) else json_parts(post.body, post.limits)
    found = next((value for name, value in form.fields if name == b"mandrill_events"), None)
    if found is None:
        return Rejected(Reason.SCHEMA, "a form without mandrill_events")
    return json_parts(found, post.limits)


def check(post: Post, key: str) -> bool:
    """The signature over URL and form fields; without the URL nothing fits."""
    form = form_of(post.body, post.headers.get("content-type", ""), post.limits)
    if post.url is None or not isinstance(form, Form):
        return False
    return signatures.mandrill(post.url, form.fields, post.headers.get("x-mandrill-signature", ""), key)


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of an element, a message's or a list's; None when it says no type."""
    event = values.text(part.get("event"))
    if event is not None:
        return [_message_event(event, part)]
    type_ = values.text(part.get("type"))
    return [_sync_event(type_, part)] if type_ is not None else None


def _message_event(event: str, part: Mapping[str, Any]) -> Facts:
    type_, extra = TYPES.get(event, ("email.unknown", {"category": "other"}))
    msg = values.mapping(part.get("msg"))
    message = values.unbracketed(part.get("_id")) or values.unbracketed(msg.get("_id"))
    tags = values.strings(msg.get("tags"))
    if type_ == "email.dropped":
        extra = {"reason": _drop_reason(part, msg)}
    elif type_ == "email.deferred":
        extra = {"reason": values.text(msg.get("diag"))}
    return Facts(
        type=type_,
        moment=times.unix(part.get("ts")),
        recipient=msg.get("email"),
        id_parts=(event, message or "", *(values.raw(part.get(key)) for key in ("ts", "url", "ip"))),
        provider_event=event,
        message=message,
        metadata=values.mapping(msg.get("metadata")),
        campaigns={"tags": next(iter(tags), None)},
        url=values.text(part.get("url")) if event == "click" else None,
        verdict=judge(part.get("user_agent"), is_open=event == "open") if event in ("open", "click") else NO_VERDICT,
        tags=tags,
        extra={
            **extra,
            "template": values.text(msg.get("template")),
            "sending_domain": domain_of(msg.get("sender")),
            "ip": truncated_ip(part.get("ip")),
            "user_agent": values.text(part.get("user_agent")),
            "smtp": answers.smtp(msg.get("diag")),
        },
    )


def _drop_reason(part: Mapping[str, Any], msg: Mapping[str, Any]) -> str:
    """Told by ``msg.reject`` or ``reject``, an object or the reason itself."""
    for given in (msg.get("reject"), part.get("reject"), msg.get("reject_reason"), part.get("reject_reason")):
        told = values.text(given.get("reason") if isinstance(given, dict) else given)
        if told is not None:
            return _reason(told)
    return "other"


def _reason(told: str) -> str:
    return REASONS.get(told.lower().replace("_", "-"), "other")


def _sync_event(type_: str, part: Mapping[str, Any]) -> Facts:
    action = values.raw(part.get("action"))
    entry = values.mapping(part.get("reject")) or values.mapping(part.get("entry"))
    found, extra = SYNCS.get((_OLD_NAMES.get(type_, type_), action), ("email.unknown", {"category": "other"}))
    told = values.text(entry.get("reason"))
    if found == "email.suppressed" and told is not None:
        extra = {**extra, "reason": _reason(told)}
    return Facts(
        type=found,
        moment=times.unix(part.get("ts")),
        recipient=entry.get("email"),
        id_parts=(f"{type_} {action}", *(values.raw(part.get(key)) for key in ("_id", "ts", "url", "ip"))),
        provider_event=f"{type_}/{action}" if action else type_,
        extra=extra,
    )
