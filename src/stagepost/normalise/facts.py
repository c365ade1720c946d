"""From what a provider's file found in one part to the canonical event: identity, campaign, limits, id.

The same for every provider. May not contain: a provider's name for anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import UNSET, Struct, structs

from stagepost.events import Event, RawPlace, Reason, Rejected, Smtp, rfc3339, stable_id
from stagepost.normalise import values
from stagepost.normalise.addresses import hashed, normalised
from stagepost.normalise.limits import SHORT, Limits
from stagepost.normalise.machines import NO_VERDICT, Verdict
from stagepost.normalise.post import AccountConfig, Post
from stagepost.normalise.times import Moment, plausible

VERSION = 1

METADATA = "metadata"
"""Where ``AccountConfig.campaign_from`` means the account's ``campaign_keys``."""


class Facts(Struct, frozen=True, kw_only=True, gc=False):
    """One (provider event, recipient), in the vocabulary but for what all providers share.

    ``id_parts``: the provider's row of providers.md 5.4. ``campaigns``: places of a campaign by name, in the provider's
    order. ``extra``: fields of ``Event`` that are on the wire only when known, None where not. ``certainty``:
    ``candidate`` where the recipient is one of several who may have acted. ``mail_headers``: headers of the mail
    itself, names in lower case; an account says which hold metadata and tags. ``sent_as``: the address as it was sent,
    where the provider tells both.
    """

    type: str
    moment: Moment | None
    recipient: Any
    id_parts: tuple[str, ...]
    provider_event: str
    message: str | None = None
    metadata: Mapping[str, Any] = {}
    campaigns: Mapping[str, Any] = {}
    url: str | None = None
    first: bool | None = None
    verdict: Verdict = NO_VERDICT
    tags: tuple[str, ...] = ()
    certainty: Literal["exact", "candidate"] = "exact"
    test: bool = False
    mail_headers: Mapping[str, tuple[str, ...]] = {}
    extra: Mapping[str, Any] = {}
    sent_as: Any = None


def assemble(
    facts: Facts, post: Post, account: AccountConfig, tenant_key: bytes, part: int, verified: bool | None
) -> Event | Rejected:
    """The event, or why there is none: an implausible time, or nobody to apply it to."""
    if facts.mail_headers:
        facts = _with_mail_headers(facts, account)
    moment = plausible(facts.moment, post.received_at)
    if isinstance(moment, Rejected):
        return Rejected(moment.reason, moment.detail, part)
    recipient = normalised(facts.recipient)
    contact = _contact(facts, post, account, tenant_key, recipient)
    if contact is None:
        return Rejected(Reason.NO_CONTACT, "neither a contact key in the metadata nor an address", part)
    cut: set[str] = set()
    limits = post.limits
    metadata = _metadata(facts.metadata, cut, limits)
    tags = _tags(facts.tags, cut, limits) if facts.tags else ()
    event = structs.replace(
        _blank(post.provider, post.account, post.received_at, verified),
        id=stable_id("1", post.provider, post.account, *facts.id_parts, recipient or ""),
        type=facts.type,
        occurred_at=rfc3339(moment.at),
        contact=contact,
        recipient=recipient,
        campaign=_campaign(facts, account, limits.id_bytes),
        message=_cut("message", facts.message, cut, limits.string_bytes) if facts.message is not None else None,
        tags=tags,
        metadata=metadata,
        occurred_precision=moment.precision,
        provider_event=_cut("provider_event", facts.provider_event, cut, limits.string_bytes),
        recipient_certainty=facts.certainty if recipient is not None else "none",
        raw=RawPlace(part, *post.place) if post.place is not None else RawPlace(part),
    )
    _add_known(event, facts, account, cut, limits)
    return event


def _add_known(event: Event, facts: Facts, account: AccountConfig, cut: set[str], limits: Limits) -> None:
    """Fill in the fields that are on the wire only when known.

    Nobody has seen the event yet; naming these fields among the arguments that make it would double what it costs.
    """
    fill = structs.force_setattr
    for name, value in facts.extra.items():
        if value is None:
            continue
        if value.__class__ is str and len(value) > SHORT:
            value = _cut(name, value, cut, limits.string_bytes)
        fill(event, name, value)
    if event.smtp is not UNSET:
        fill(event, "smtp", _cut_smtp(event.smtp, cut, limits.string_bytes))
    if facts.url is not None:
        fill(event, "url", _cut("url", facts.url, cut, limits.url_bytes))
    if facts.first is not None:
        fill(event, "first", facts.first)
    if facts.test:
        fill(event, "test", True)
    verdict = facts.verdict
    if verdict is not NO_VERDICT:
        fill(event, "machine", verdict.machine)
        fill(event, "machine_reasons", verdict.reasons)
        if verdict.kind is not None:
            fill(event, "machine_kind", verdict.kind)
    if account.variants == "count":
        fill(event, "variant", UNSET)
    if account.sending_domain is not None and event.sending_domain is UNSET:
        fill(event, "sending_domain", account.sending_domain)
    if event.scope == "domain" and event.scope_id is UNSET:
        fill(event, "scope_id", event.sending_domain)
    sent_as = (values.text(facts.sent_as) if facts.sent_as is not None else None) or values.text(facts.recipient)
    if sent_as is not None:
        fill(event, "recipient_raw", _cut("recipient_raw", sent_as, cut, limits.string_bytes))
    if cut:
        fill(event, "cut", tuple(sorted(cut)))


@lru_cache(maxsize=64)
def _blank(provider: str, account: str, received_at: int, verified: bool | None) -> Event:
    """What all events of a post have in common: filling it in is half the cost of making each anew."""
    return Event(
        id="",
        type="",
        occurred_at="",
        received_at=rfc3339(received_at),
        contact="",
        provider=provider,
        account=account,
        verified=verified,
        v=VERSION,
    )


def _with_mail_headers(facts: Facts, account: AccountConfig) -> Facts:
    """What the provider's own fields say goes before what headers of the mail say."""
    metadata: dict[str, Any] = {}
    for name in account.metadata_headers:
        for value in facts.mail_headers.get(name.lower(), ()):
            metadata |= values.mapping(values.embedded(value))
    tags = list(facts.tags)
    for name in account.tag_headers:
        for value in facts.mail_headers.get(name.lower(), ()):
            several = values.embedded(value)
            tags += values.strings(several if isinstance(several, list) else value)
    return structs.replace(facts, metadata={**metadata, **facts.metadata}, tags=tuple(tags))


def _contact(facts: Facts, post: Post, account: AccountConfig, tenant_key: bytes, recipient: str | None) -> str | None:
    found = _first_id(facts.metadata, account.contact_keys, post.limits.id_bytes)
    if found is not None:
        return found
    if recipient is not None:
        return hashed(recipient, tenant_key)
    return f"none:{post.provider}:{post.account}" if facts.type == "email.unknown" else None


def _campaign(facts: Facts, account: AccountConfig, limit: int) -> str | None:
    """The metadata's goes first, unless the account's order names a place for it."""
    order = account.campaign_from
    if METADATA in order:
        before = _first_id(facts.campaigns, order[: order.index(METADATA)], limit)
        if before is not None:
            return before
    found = _first_id(facts.metadata, account.campaign_keys, limit)
    return found if found is not None else _first_id(facts.campaigns, order or facts.campaigns, limit)


def _first_id(given: Mapping[str, Any], keys: Iterable[str], limit: int) -> str | None:
    for key in keys:
        value = given.get(key)
        if value is not None and (found := values.id_text(value, limit)) is not None:
            return found
    return None


def _cut(name: str, value: str, cut: set[str], limit: int) -> str:
    """The string within its limit; what had to be shortened is named in ``cut``."""
    if len(value) <= SHORT:
        return value
    kept = values.shortened(value, limit)
    if kept is not value:
        cut.add(name)
    return kept


def _tags(found: tuple[str, ...], cut: set[str], limits: Limits) -> tuple[str, ...]:
    if len(found) > limits.tags:
        cut.add("tags")
    elif len("".join(found)) <= SHORT:
        return found
    return tuple([_cut("tags", tag, cut, limits.string_bytes) for tag in found[: limits.tags]])


def _cut_smtp(smtp: Smtp, cut: set[str], limit: int) -> Smtp:
    if len(smtp.enhanced or "") <= SHORT and len(smtp.text or "") <= SHORT:
        return smtp
    return Smtp(
        smtp.code,
        _cut("smtp", smtp.enhanced, cut, limit) if smtp.enhanced is not None else None,
        _cut("smtp", smtp.text, cut, limit) if smtp.text is not None else None,
    )


def _metadata(given: Mapping[str, Any], cut: set[str], limits: Limits) -> dict[str, str]:
    try:
        characters = len("".join(given)) + len("".join(given.values()))
    except TypeError:
        characters = SHORT + 1  # not all are texts: looked at one by one
    if characters <= SHORT and len(given) <= limits.metadata_keys:
        return given if given.__class__ is dict else dict(given)
    kept: dict[str, str] = {}
    size = 0
    for key, value in given.items():
        if value is None:
            continue
        found = values.metadata_value(value)
        size += values.size_of(key) + values.size_of(found)
        if len(kept) == limits.metadata_keys or size > limits.metadata_bytes:
            cut.add("metadata")
            break
        kept[key] = found
    return kept
