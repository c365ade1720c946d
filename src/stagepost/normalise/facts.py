"""From what a provider's file found in one part to the canonical event: identity, campaign, limits, id.

The same for every provider. May not contain: a provider's name for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from msgspec import UNSET, Struct, structs

from stagepost.events import Event, RawPlace, Reason, Rejected, Smtp, rfc3339, stable_id
from stagepost.normalise import values
from stagepost.normalise.addresses import hashed, normalised
from stagepost.normalise.machines import Verdict
from stagepost.normalise.post import AccountConfig, Post
from stagepost.normalise.times import Moment, plausible

VERSION = 1


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
    campaigns: Mapping[str, str | None] = {}
    url: str | None = None
    first: bool | None = None
    verdict: Verdict = Verdict()
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
    cut = _Cut()
    metadata = cut.metadata(facts.metadata)
    extra = {name: cut.string(name, value) for name, value in facts.extra.items() if value is not None}
    if "smtp" in extra:
        extra["smtp"] = cut.smtp(extra["smtp"])
    if facts.verdict.kind is not None:
        extra["machine_kind"] = facts.verdict.kind
    if account.variants == "count":
        extra.pop("variant", None)
    if account.sending_domain is not None:
        extra.setdefault("sending_domain", account.sending_domain)
    if extra.get("scope") == "domain" and "sending_domain" in extra:
        extra.setdefault("scope_id", extra["sending_domain"])
    sent_as = values.text(facts.sent_as) or values.text(facts.recipient)
    tags, url = cut.tags(facts.tags), cut.url(facts.url)
    return Event(
        id=stable_id("1", post.provider, post.account, *facts.id_parts, recipient or ""),
        type=facts.type,
        occurred_at=rfc3339(moment.at),
        received_at=_received(post.received_at),
        contact=contact,
        recipient=recipient,
        provider=post.provider,
        account=post.account,
        campaign=_campaign(facts, account),
        message=cut.string("message", facts.message),
        url=url,
        first=facts.first,
        machine=facts.verdict.machine,
        machine_reasons=facts.verdict.reasons,
        test=facts.test,
        tags=tags,
        metadata=metadata,
        occurred_precision=moment.precision,
        provider_event=cut.string("provider_event", facts.provider_event),
        recipient_raw=cut.string("recipient_raw", sent_as) if sent_as is not None else UNSET,
        recipient_certainty=facts.certainty if recipient is not None else "none",
        verified=verified,
        raw=RawPlace(part=part),
        cut=tuple(sorted(cut.names)) if cut.names else UNSET,
        v=VERSION,
        **extra,
    )


@lru_cache(maxsize=64)
def _received(at: int) -> str:
    """Asked again for every event of a post."""
    return rfc3339(at)


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
    for key in account.contact_keys:
        found = values.id_text(facts.metadata.get(key))
        if found is not None:
            return found
    if recipient is not None:
        return hashed(recipient, tenant_key)
    return f"none:{post.provider}:{post.account}" if facts.type == "email.unknown" else None


def _campaign(facts: Facts, account: AccountConfig) -> str | None:
    for key in account.campaign_keys:
        found = values.id_text(facts.metadata.get(key))
        if found is not None:
            return found
    places = account.campaign_from or tuple(facts.campaigns)
    return next((found for place in places if (found := values.id_text(facts.campaigns.get(place))) is not None), None)


class _Cut:
    """Shortens what is longer than its limit and remembers the names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def string(self, name: str, value: Any) -> Any:
        return self._text(name, value, values.STRING_LIMIT) if isinstance(value, str) else value

    def url(self, value: str | None) -> str | None:
        return self._text("url", value, values.URL_LIMIT) if value is not None else None

    def _text(self, name: str, value: str, limit: int) -> str:
        kept = values.shortened(value, limit)
        if kept is not value:
            self.names.add(name)
        return kept

    def tags(self, found: tuple[str, ...]) -> tuple[str, ...]:
        if len(found) > values.TAGS:
            self.names.add("tags")
        return tuple([self.string("tags", tag) for tag in found[: values.TAGS]])

    def smtp(self, smtp: Smtp) -> Smtp:
        return Smtp(smtp.code, self.string("smtp", smtp.enhanced), self.string("smtp", smtp.text))

    def metadata(self, given: Mapping[str, Any]) -> dict[str, str]:
        kept: dict[str, str] = {}
        size = 0
        for key, value in given.items():
            if value is None:
                continue
            found = values.metadata_value(value)
            size += values.size_of(key) + values.size_of(found)
            if len(kept) == values.METADATA_KEYS or size > values.METADATA_LIMIT:
                self.names.add("metadata")
                break
            kept[key] = found
        return kept
