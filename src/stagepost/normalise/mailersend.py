"""MailerSend webhooks (providers.md 1.10; https://developers.mailersend.com/api/v1/webhooks.html).

One ``{type: "activity.NAME", created_at, data}`` a post. An example of an id: activity 62f114f8165fe0d8db0288e3 of
ann@example.com in account ``default`` is the hash of ``["1", "mailersend", "default", "62f114f8165fe0d8db0288e3",
"ann@example.com"]``. Signed: hex HMAC-SHA256 of the raw body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "mailersend"
check = signatures.mailersend

TYPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # type: type in the vocabulary, sub-fields
    "activity.sent": ("email.sent", {}),
    "activity.deferred": ("email.deferred", {}),
    "activity.delivered": ("email.delivered", {}),
    # Final, unlike other providers' soft bounces.
    "activity.soft_bounced": ("email.bounced", {"bounce_class": "soft"}),
    "activity.hard_bounced": ("email.bounced", {"bounce_class": "hard"}),
    "activity.opened": ("email.opened", {}),
    "activity.opened_unique": ("email.opened", {"variant": "unique"}),
    "activity.clicked": ("email.clicked", {}),
    "activity.clicked_unique": ("email.clicked", {"variant": "unique"}),
    "activity.spam_complaint": ("email.complained", {}),
    "activity.unsubscribed": ("email.unsubscribed", {"scope": "domain"}),
}
"""Everything else is ``email.unknown``, with the category below where one is known."""

CATEGORIES: Mapping[str, str] = {
    "activity.survey_opened": "survey",
    "activity.survey_submitted": "survey",
    "sender_identity.verified": "domain",
    "inbound_forward.failed": "inbound",
}
_MAINTENANCE = "maintenance."

PING = "webhook.test"


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of a post, none for a test; None when the object says no type."""
    name = values.text(part.get("type"))
    if name is None:
        return None
    if name == PING:
        return []
    data = values.mapping(part.get("data"))
    email = values.mapping(data.get("email"))
    morph = values.mapping(data.get("morph"))
    data_id = values.text(data.get("id"))
    mail_id = values.text(email.get("id"))
    tags = values.strings(email.get("tags"))
    sending_domain = domain_of(email.get("from"))
    type_, extra = TYPES.get(name, ("email.unknown", {"category": _category(name)}))
    at = data.get("created_at") or part.get("created_at")
    return [
        Facts(
            type=type_,
            moment=times.iso(at),
            recipient=values.mapping(email.get("recipient")).get("email"),
            id_parts=(data_id,) if data_id is not None else (name, values.raw(at)),
            provider_event=name,
            message=values.text(values.mapping(email.get("message")).get("id")),
            campaigns={"tags": next(iter(tags), None)},
            # ``url`` beside ``type`` is the webhook's own.
            url=values.text(morph.get("url")) if type_ == "email.clicked" else None,
            first=True if extra.get("variant") == "unique" else None,
            verdict=_verdict(type_, morph),
            tags=tags,
            extra={
                **extra,
                "scope_id": sending_domain or values.text(part.get("domain_id")) if "scope" in extra else None,
                "reason": values.text(morph.get("reason")) if type_ == "email.deferred" else None,
                "provider_event_id": data_id,
                "rfc_message_id": f"{mail_id}@mailersend.net" if mail_id is not None else None,
                "template": values.text(data.get("template_id")),
                "sending_domain": sending_domain,
                "ip": truncated_ip(morph.get("ip")),
                "smtp": answers.smtp(morph.get("reason")) if type_ in _ANSWERED else None,
            },
        )
    ]


_ANSWERED = ("email.deferred", "email.bounced")
"""Elsewhere ``morph.reason`` is a person's."""


def _category(name: str) -> str:
    return CATEGORIES.get(name, "account" if name.startswith(_MAINTENANCE) else "other")


def _verdict(type_: str, morph: Mapping[str, Any]) -> Verdict:
    if type_ not in ("email.opened", "email.clicked"):
        return NO_VERDICT
    return judge(morph.get("user_agent"), is_open=type_ == "email.opened")
