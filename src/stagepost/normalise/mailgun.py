"""Mailgun webhooks (providers.md 1.2; https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/).

Version 3 posts one JSON object ``{"signature": ..., "event-data": ...}``; the legacy form posts of flat fields are put
into the same shape and read by the same code. An example of an id: event ``ev1`` of 2026-11-02 for ann@example.com in
account ``default`` is the hash of ``["1", "mailgun", "default", "ev1", "2026-11-02", "ann@example.com"]``.

The signature covers neither the event nor the recipient: who has seen one post can sign any event for 24 hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import getaddresses
from typing import Any

from stagepost.events import Rejected, Smtp
from stagepost.normalise import signatures, times, values
from stagepost.normalise.addresses import domain_of, truncated_ip
from stagepost.normalise.bodies import Form, form_of, json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge
from stagepost.normalise.post import Post
from stagepost.normalise.times import Moment

NAME = "mailgun"

TYPES: Mapping[str, str] = {
    "accepted": "email.sent",
    "delivered": "email.delivered",
    "failed": "email.bounced",  # or deferred or dropped, see _failure
    "rejected": "email.dropped",
    "opened": "email.opened",
    "clicked": "email.clicked",
    "complained": "email.complained",
    "unsubscribed": "email.unsubscribed",
    # Legacy names of failures.
    "bounced": "email.bounced",
    "dropped": "email.dropped",
}
"""Everything else is ``email.unknown``, with the category below where one is known."""

UNKNOWN: Mapping[str, str] = {
    "stored": "inbound",
    "list_member_uploaded": "contact",
    "list_member_upload_error": "contact",
    "list_uploaded": "contact",
}

SUPPRESSIONS: Mapping[str, str] = {
    # ``reason`` or Mailgun's own code of a failure that was no attempt: reason in the vocabulary
    "suppress-bounce": "bounced",
    "suppress-complaint": "complained",
    "suppress-unsubscribe": "unsubscribed",
    "605": "bounced",
    "606": "unsubscribed",
    "607": "complained",
    "625": "policy",
}

BOUNCES: Mapping[str, str] = {
    # ``reason`` of a permanent failure: class; what is hard here is soft with a 4xx code
    "bounce": "hard",
    "hardfail": "hard",
    "generic": "hard",
    "unknown": "hard",
    "": "hard",
    "espblock": "block",
    "blacklisted": "block",
    "greylisted": "soft",
    "old": "soft",
}

BOTS: Mapping[str, str] = {"apple": "privacy_proxy", "generic": "scanner"}
"""``client-info.bot``; ``gmail`` is a proxy that mostly fetches when a person opens, and "" says that there is none."""

_CLIENTS = ("robot", "library")

_SAID = (
    # texts of legacy posts without a code: reason in the vocabulary
    ("previously bounced", "bounced"),
    ("unsubscribed", "unsubscribed"),
    ("marked your messages as spam", "complained"),
)

_LEGACY = frozenset(
    "event recipient domain ip country region city user-agent device-type client-type client-name client-os "
    "campaign-id campaign-name tag mailing-list url timestamp token signature message-id message-headers code error "
    "notification reason description severity sender from subject attachment-count body-plain x-mailgun-sid "
    "x-mailgun-tag x-mailgun-deliver-by x-mailgun-incoming".split()
)
"""Fields of legacy posts, in lower case; what else is there are the sender's variables."""

_LAST_WINS = ("timestamp", "token", "signature")
"""A variable of the sender may have the same name, and stands before them."""


def parts(post: Post) -> list[Any] | Rejected:
    """The object of a JSON post, or a form post in its shape."""
    form = form_of(post.body, post.headers.get("content-type", ""), post.limits)
    if isinstance(form, Form):
        return [_from_legacy(form)]
    return form if isinstance(form, Rejected) else json_parts(post.body, post.limits)


def check(post: Post, key: str) -> bool:
    """The signature block of the post, or the one made with the key of the parent account."""
    return None not in _signed(post, key)


def tokens(post: Post, key: str) -> tuple[str, ...]:
    """The tokens that this key signed: the same on every retry of a post, and on no other post."""
    return tuple(token for token in _signed(post, key) if token is not None)


def signed_at(post: Post) -> str:
    """Of the first part."""
    found = parts(post)
    part = values.mapping(found[0]) if isinstance(found, list) and found else {}
    return values.raw(values.mapping(part.get("signature")).get("timestamp"))


def _signed(post: Post, key: str) -> list[str | None]:
    """Of each part the token that this key signed, None where it did not; a body that cannot be read is one part."""
    found = parts(post)
    return [None] if isinstance(found, Rejected) else [_signed_with(part, key, post.received_at) for part in found]


def _signed_with(part: Any, key: str, received_at: int) -> str | None:
    """The token of the block that fits; None where none does."""
    block = values.mapping(values.mapping(part).get("signature"))
    parent = block.get("parent-signature")
    blocks = (block, {**block, **(parent if isinstance(parent, dict) else {"signature": parent})})
    for each in blocks:
        timestamp, token, signature = (values.raw(each.get(name)) for name in _LAST_WINS)
        if signatures.mailgun(timestamp, token, signature, key, received_at):
            return token
    return None


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of a post; None when it says no type."""
    data = part.get("event-data")
    data = data if isinstance(data, dict) else part
    event = values.text(data.get("event"))
    if event is None:
        return None
    message_headers = values.mapping(values.mapping(data.get("message")).get("headers"))
    envelope = values.mapping(data.get("envelope"))
    client = values.mapping(data.get("client-info"))
    flags = values.mapping(data.get("flags"))
    list_ = values.mapping(data.get("mailing-list"))
    list_id = values.text(list_.get("address")) or values.text(list_.get("list-id")) or values.text(list_.get("sid"))
    moment = times.unix(data.get("timestamp"))
    message = values.unbracketed(message_headers.get("message-id"))
    tags = values.strings(data.get("tags"))
    recipient, certainty = _recipient(data, message_headers)
    type_, extra = _classified(event, data)
    if type_ == "email.unsubscribed":
        extra = {"scope": "list", "scope_id": list_id} if list_ else {"scope": "domain"}
    return [
        Facts(
            type=type_,
            moment=moment,
            recipient=recipient,
            certainty=certainty,
            id_parts=_id_parts(event, data, values.mapping(part.get("signature")), message, moment),
            provider_event=event,
            message=message,
            metadata=values.mapping(data.get("user-variables")),
            campaigns={"campaigns": _campaign(data.get("campaigns")), "tags": next(iter(tags), None)},
            url=values.text(data.get("url")) if event == "clicked" else None,
            verdict=_verdict(event, client),
            tags=tags,
            test=values.boolean(flags.get("is-test-mode")) is True
            or values.boolean(flags.get("is-system-test")) is True,
            extra={
                **extra,
                "provider_event_id": values.text(data.get("id")),
                "rfc_message_id": message,
                "batch": values.text(values.mapping(data.get("batch")).get("id")),
                "template": values.text(values.mapping(data.get("template")).get("name")),
                "list_id": list_id,
                "campaign_name": _campaign_name(data.get("campaigns")),
                "sending_domain": domain_of(envelope.get("sender"))
                or domain_of(message_headers.get("from"))
                or values.text(values.mapping(data.get("domain")).get("name")),
                "ip": truncated_ip(data.get("ip")),
                "user_agent": values.text(client.get("user-agent")),
                "attempt": values.integer(_status(data).get("attempt-no")),
                "smtp": _smtp(_status(data)),
            },
        )
    ]


def _status(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return values.mapping(data.get("delivery-status"))


def _classified(event: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    if event in ("failed", "bounced", "dropped"):
        return _failure(event, data)
    type_ = TYPES.get(event, "email.unknown")
    if event == "rejected":
        return type_, {"reason": "policy"}
    return type_, {"category": UNKNOWN.get(event, "other")} if type_ == "email.unknown" else {}


def _failure(event: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Temporary ones are retried; of the others those that were no attempt are dropped, the rest bounced."""
    status = _status(data)
    reason = values.raw(data.get("reason")).lower()
    code = values.raw(status.get("code"))
    if event == "failed" and values.raw(data.get("severity")).lower() == "temporary":
        return "email.deferred", {"reason": reason or None}
    suppressed = SUPPRESSIONS.get(reason) or SUPPRESSIONS.get(code)
    if suppressed is not None:
        return "email.dropped", {"reason": suppressed}
    enhanced = values.raw(status.get("enhanced-code"))
    if event == "dropped" and reason != "old" and not code and not enhanced:
        said = values.raw(status.get("description")).lower()
        return "email.dropped", {"reason": next((found for words, found in _SAID if words in said), "other")}
    found = BOUNCES.get(reason, "undetermined")
    if found == "hard" and (code.startswith("4") or (not code and enhanced.startswith("4."))):
        found = "soft"
    delayed = values.boolean(values.mapping(data.get("flags")).get("is-delayed-bounce"))
    return "email.bounced", {"bounce_class": found, "asynchronous": delayed}


def _recipient(data: Mapping[str, Any], message_headers: Mapping[str, Any]) -> tuple[Any, Any]:
    """``recipient``, which ``rejected`` lacks: then the header, of whose several addresses the first is a candidate."""
    if values.text(data.get("recipient")) is not None:
        return data.get("recipient"), "exact"
    to = message_headers.get("to")
    several = [address for _, address in getaddresses([to])] if isinstance(to, str) and len(to) < 10_000 else []
    return (several[0], "candidate") if len(several) > 1 else (to, "exact")


def _id_parts(
    event: str, data: Mapping[str, Any], signature: Mapping[str, Any], message: str | None, moment: Moment | None
) -> tuple[str, ...]:
    """An event's id is unique within a day; a legacy post has none, but a token."""
    number = values.text(data.get("id"))
    if number is not None:
        return number, times.utc_day(moment)
    token = values.text(signature.get("token"))
    if token is not None:
        return (token,)
    return event, message or "", values.raw(data.get("timestamp")), values.raw(data.get("url"))


def _campaign(campaigns: Any) -> str | None:
    """The first one's id, or itself."""
    first = next(iter(campaigns), None) if isinstance(campaigns, list) else campaigns
    return values.text(first.get("id")) if isinstance(first, dict) else values.text(first)


def _campaign_name(campaigns: Any) -> str | None:
    first = next(iter(campaigns), None) if isinstance(campaigns, list) else None
    return values.text(first.get("name")) if isinstance(first, dict) else None


def _verdict(event: str, client: Mapping[str, Any]) -> Verdict:
    if event not in ("opened", "clicked"):
        return NO_VERDICT
    agent, is_open = client.get("user-agent"), event == "opened"
    bot = client.get("bot")
    if values.raw(client.get("client-type")).lower() in _CLIENTS:
        return judge(agent, is_open=is_open, flag=True, flag_kind="scanner")
    if not isinstance(bot, str):
        return judge(agent, is_open=is_open)
    if bot.lower() == "gmail":
        told = judge(agent, is_open=is_open)
        return told if told.machine else Verdict(None, "image_proxy")
    return judge(agent, is_open=is_open, flag=bot != "", flag_kind=BOTS.get(bot.lower(), "scanner"))


def _smtp(status: Mapping[str, Any]) -> Smtp | None:
    code = values.integer(status.get("code"))
    enhanced = values.text(status.get("enhanced-code"))
    told = values.text(status.get("message")) or values.text(status.get("description"))
    return Smtp(code or None, enhanced, told) if code or enhanced is not None or told is not None else None


def _from_legacy(form: Form) -> dict[str, Any]:
    """The flat fields of a legacy post in the shape of version 3."""
    fields: dict[str, str] = {}
    tags: list[str] = []
    variables: dict[str, Any] = {}
    for name, several in form.texts().items():
        folded = name.lower()
        if folded in ("tag", "x-mailgun-tag"):
            tags += [tag for tag in several if tag not in tags]
        elif folded in _LEGACY:
            fields[folded] = several[-1] if folded in _LAST_WINS else fields.get(folded, several[0])
        elif not folded.startswith("attachment-"):
            variables[name] = several[0]
    code = fields.get("code", "")
    mailing_list = fields.get("mailing-list")
    campaign = fields.get("campaign-id")
    return {
        "signature": {name: fields.get(name) for name in _LAST_WINS},
        "event-data": {
            **{name: fields.get(name) for name in ("event", "recipient", "timestamp", "url", "ip", "severity")},
            "reason": fields.get("reason"),
            "domain": {"name": fields.get("domain")},
            "delivery-status": {
                "enhanced-code" if "." in code else "code": code,
                "message": fields.get("error"),
                "description": fields.get("description") or fields.get("notification"),
            },
            "message": {"headers": {"message-id": fields.get("message-id")}},
            "client-info": {"user-agent": fields.get("user-agent"), "client-type": fields.get("client-type")},
            "campaigns": [{"id": campaign, "name": fields.get("campaign-name")}] if campaign else [],
            "mailing-list": {"address": mailing_list} if mailing_list else None,
            "tags": tags,
            "user-variables": variables,
        },
    }
