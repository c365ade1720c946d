"""Mailjet event API (providers.md 1.8; https://dev.mailjet.com/email/guides/webhooks/).

An array where the endpoint has version 2, else a bare object. ``sent`` says that the receiving server accepted the
message: it was delivered. An example of an id: a click on ``https://example.com/`` in message 19421777835146490 at
1700000000, list 7, by ann@example.com in account ``default`` is the hash of ``["1", "mailjet", "default", "click",
"19421777835146490", "1700000000", "https://example.com/", "7", "ann@example.com"]``. Nothing is signed: basic
authentication.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagepost.events import Smtp
from stagepost.normalise import answers, signatures, times, values
from stagepost.normalise.addresses import truncated_ip
from stagepost.normalise.facts import Facts
from stagepost.normalise.machines import NO_VERDICT, Verdict, judge

NAME = "mailjet"
check = signatures.shared_secret

TYPES: Mapping[str, str] = {
    "sent": "email.delivered",
    "open": "email.opened",
    "click": "email.clicked",
    "bounce": "email.bounced",
    "blocked": "email.dropped",
    "spam": "email.complained",
    "unsub": "email.unsubscribed",
}
"""Everything else is ``email.unknown``."""

BLOCKED: Mapping[str, str] = {
    # error of a blocked event: reason in the vocabulary
    "preblocked": "suppressed",
    "blacklisted": "bounced",
    "spam reporter": "complained",
    "typofix": "invalid",
    "user unknown": "invalid",
    "mailbox inactive": "invalid",
    "invalid domain": "invalid",
    "no mail host": "invalid",
    "sender blocked": "policy",
    "policy issue": "policy",
    "content blocked": "content",
    "duplicate in campaign": "duplicate",
}

TEMPLATE_ERRORS = frozenset({"bad or empty template", "error in template language"})

FAILED = TEMPLATE_ERRORS | {"system", "system issue"}
"""Errors that no receiver had a part in; ``system`` is a value of ``error_related_to`` (its others are protocol and
connection issues). A bounce that is called hard was answered all the same."""

_BLOCKS = frozenset({"spam", "content", "sender blocked", "content blocked"})

_HEADER_UNSUBSCRIBE = "List-Unsubscribe"
"""Stands in place of a user agent where the mail program's own button was used."""


def read(part: Mapping[str, Any], headers: Mapping[str, str]) -> list[Facts] | None:
    """The one event of an object; None when it says no type."""
    event = values.text(part.get("event"))
    if event is None:
        return None
    answer = answers.smtp(values.text(part.get("comment")) or values.text(part.get("error")) or part.get("smtp_reply"))
    list_id = values.positive(part.get("mj_list_id"))
    type_, extra = _classified(event, part, answer, list_id)
    url = values.text(part.get("url"))
    return [
        Facts(
            type=type_,
            moment=times.unix(part.get("time")),
            recipient=part.get("email"),
            id_parts=(event, *(values.raw(part.get(key)) for key in ("MessageID", "time", "url", "mj_list_id"))),
            provider_event=event,
            message=values.text(part.get("MessageID")),
            metadata=_metadata(part),
            campaigns={
                "customcampaign": values.text(part.get("customcampaign")),
                "mj_campaign_id": values.positive(part.get("mj_campaign_id")),
            },
            url=url if event == "click" else None,
            verdict=_verdict(event, part),
            extra={
                **extra,
                "list_id": list_id,
                "ip": truncated_ip(part.get("ip")),
                "user_agent": values.text(part.get("agent")),
                "smtp": answer,
            },
        )
    ]


def _metadata(part: Mapping[str, Any]) -> dict[str, Any]:
    custom = values.text(part.get("CustomID"))
    own = {} if custom is None else {"custom_id": custom}
    return {**values.metadata_text(part.get("Payload"), "payload"), **own}


def _classified(
    event: str, part: Mapping[str, Any], answer: Smtp | None, list_id: str | None
) -> tuple[str, dict[str, Any]]:
    """Type in the vocabulary, and the sub-fields that go with it."""
    type_ = TYPES.get(event, "email.unknown")
    # Either may hold the name of the error.
    names = tuple(values.raw(part.get(key)).lower() for key in ("error", "error_related_to"))
    if event == "bounce":
        return _bounce(values.boolean(part.get("hard_bounce")) is True, names, answer)
    if event == "blocked":
        if not FAILED.isdisjoint(names):
            return "email.failed", {"reason": names[0] or names[1]}
        return type_, {"reason": next((BLOCKED[name] for name in names if name in BLOCKED), "other")}
    if event == "unsub":
        method = "header" if part.get("agent") == _HEADER_UNSUBSCRIBE else None
        return type_, {"scope": "list" if list_id else "all", "scope_id": list_id, "method": method}
    return type_, {"category": "other"} if type_ == "email.unknown" else {}


def _bounce(hard: bool, names: tuple[str, ...], answer: Smtp | None) -> tuple[str, dict[str, Any]]:
    """By ``hard_bounce`` and the answer before the names: an error may be empty beside a 421."""
    told = names[0] or (answer.text if answer is not None else None)
    if "greylisted" in names or (not hard and answers.is_temporary(answer)):
        return "email.deferred", {"reason": told}
    if not (TEMPLATE_ERRORS if hard else FAILED).isdisjoint(names):
        return "email.failed", {"reason": told}
    if not _BLOCKS.isdisjoint(names):
        return "email.bounced", {"bounce_class": "block"}
    return "email.bounced", {"bounce_class": "hard" if hard else "soft"}


def _verdict(event: str, part: Mapping[str, Any]) -> Verdict:
    if event not in ("open", "click"):
        return NO_VERDICT
    return judge(part.get("agent"), is_open=event == "open")
