"""Brevo webhooks, transactional and marketing (providers.md 1.7; https://developers.brevo.com/docs).

One object a post, or an array where the webhook is batched. ``id`` is the webhook's, never the event's. An example of
an id: a click on ``https://example.com/`` in message ``<m1@example.com>`` at 1700000000 by ann@example.com in account
``default`` is the hash of ``["1", "brevo", "default", "click", "<m1@example.com>", "1700000000",
"https://example.com/", "ann@example.com"]``. Nothing is signed: basic authentication or a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import domain_of
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import Verdict, judge
from stagepost.normalise.times import Moment

NAME = "brevo"
check = signatures.shared_secret

TYPES: Mapping[str, tuple[str, dict[str, Any]]] = {
    # event, folded (lower case, without ``_``): type in the vocabulary, sub-fields
    "request": ("email.sent", {}),
    "sent": ("email.sent", {}),
    # Also with an answer such as 550 5.1.1 beside it.
    "deferred": ("email.deferred", {}),
    "delivered": ("email.delivered", {}),
    "hardbounce": ("email.bounced", {"bounce_class": "hard"}),
    "softbounce": ("email.bounced", {"bounce_class": "soft"}),
    "blocked": ("email.dropped", {"reason": "policy"}),
    "invalidemail": ("email.dropped", {"reason": "invalid"}),
    "invalid": ("email.dropped", {"reason": "invalid"}),
    "error": ("email.failed", {}),
    "opened": ("email.opened", {}),
    "uniqueopened": ("email.opened", {"variant": "unique"}),
    "proxyopen": ("email.opened", {}),
    "uniqueproxyopen": ("email.opened", {"variant": "unique"}),
    "click": ("email.clicked", {}),
    "spam": ("email.complained", {}),
    "complaint": ("email.complained", {}),
    "unsubscribe": ("email.unsubscribed", {"scope": "all"}),
    "unsubscribed": ("email.unsubscribed", {"scope": "all"}),
    "listaddition": ("email.subscribed", {"scope": "list"}),
}
"""Everything else is ``email.unknown``, with the category below where one is known."""

CATEGORIES: Mapping[str, str] = {
    "contactdeleted": "contact",
    "contactupdated": "contact",
    "inboundemailprocessed": "inbound",
}

_MILLISECONDS_FROM = 100_000_000_000
"""``ts_epoch`` is in milliseconds by its description, and in seconds in documented samples."""

_CUSTOM = "x-mailin-custom"


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of an object; None when it says no type."""
    event = values.text(part.get("event"))
    if event is None:
        return None
    folded = event.lower().replace("_", "")
    list_id = next(iter(values.strings(part.get("list_id"))), None)
    type_, extra = _classified(folded, list_id, part)
    message = values.unbracketed(part.get("message-id"))
    camp_id = values.text(part.get("camp_id"))
    # ``URL`` in samples of marketing clicks.
    link = values.text(part.get("link")) or values.text(part.get("URL"))
    tags = _tags(part)
    return [
        Facts(
            type=type_,
            moment=_moment(part),
            recipient=part.get("email"),
            id_parts=(
                event,
                values.text(part.get("message-id")) or camp_id or "",
                _first_of(part, "ts_event", "ts_epoch", "s_epoch", "date"),
                link or "",
            ),
            provider_event=event,
            message=message,
            metadata=values.metadata_text(next((v for k, v in part.items() if k.lower() == _CUSTOM), None), "custom"),
            campaigns={
                "camp_id": camp_id,
                "tags": next(iter(values.strings(part.get("tags"))), None),
                "tag": next(iter(_tag(part)), None),
            },
            url=link if type_ == "email.clicked" else None,
            first=True if extra.get("variant") == "unique" else None,
            verdict=_verdict(folded),
            tags=tags,
            extra={
                **extra,
                "rfc_message_id": message,
                "campaign_name": values.text(part.get("campaign name")),
                "template": values.text(part.get("template_id")),
                "list_id": list_id,
                "sending_domain": domain_of(part.get("sender_email")) or domain_of(part.get("sender")),
                "smtp": answers.smtp(part.get("reason")),
            },
        )
    ]


def _classified(folded: str, list_id: str | None, part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if folded not in TYPES:
        return "email.unknown", {"category": CATEGORIES.get(folded, "other")}
    type_, extra = TYPES[folded]
    if type_ in ("email.deferred", "email.failed"):
        return type_, {"reason": values.text(part.get("reason"))}
    if type_ in ("email.unsubscribed", "email.subscribed") and list_id is not None:
        return type_, {"scope": "list", "scope_id": list_id}
    return type_, extra


def _moment(part: Mapping[str, Any]) -> Moment | None:
    """``ts`` is shifted by a zone and ``date`` a local time: neither is believed."""
    epoch = values.integer(part.get("ts_epoch"))
    if epoch is not None and epoch > _MILLISECONDS_FROM:
        return times.unix(epoch)
    return times.unix(part.get("ts_event")) or times.unix(epoch) or times.unix(part.get("s_epoch"))


def _first_of(part: Mapping[str, Any], *keys: str) -> str:
    return next((found for key in keys if (found := values.text(part.get(key))) is not None), "")


def _tag(part: Mapping[str, Any]) -> tuple[str, ...]:
    """``tag`` is a text, or a JSON array in a text."""
    listed = values.embedded(part.get("tag"))
    return values.strings(listed if isinstance(listed, list) else part.get("tag"))


def _tags(part: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*values.strings(part.get("tags")), *_tag(part))))


def _verdict(folded: str) -> Verdict:
    """The proxy is Apple's; no event has a user agent."""
    flag = True if folded in ("proxyopen", "uniqueproxyopen") else None
    return judge(None, is_open=True, flag=flag, flag_kind="privacy_proxy")
