"""Webhook posts of e-mail providers to one vocabulary: bytes and headers in, events and rejections out. Pure.

>>> post = Post(provider="postmark", account="default", headers={}, received_at=1_793_610_847_000_000, body=b'''
...     {"RecordType": "Click", "MessageID": "m-1", "Recipient": "ann@example.com",
...      "ReceivedAt": "2026-11-02T09:14:00Z", "OriginalLink": "https://example.com/pricing",
...      "Metadata": {"contact_id": "c-1"}, "Tag": "nurture-3"}''')
>>> [(event.type, event.contact, event.campaign, event.url) for event in normalise(post).events]
[('email.clicked', 'c-1', 'nurture-3', 'https://example.com/pricing')]
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from msgspec import structs

from stagepost.events import Event, Reason, Rejected
from stagepost.normalise.facts import assemble
from stagepost.normalise.limits import Limits
from stagepost.normalise.post import AccountConfig, Normalised, Post, account_of, is_keyed, is_open_to
from stagepost.normalise.registry import PROVIDERS, Provider, canonical_name
from stagepost.normalise.signatures import why_not

__all__ = [
    "PROVIDERS",
    "AccountConfig",
    "Limits",
    "Normalised",
    "Post",
    "account_of",
    "canonical_name",
    "certified",
    "is_keyed",
    "is_open_to",
    "normalise",
    "refusal",
    "verified",
]

NO_TENANT_KEY = bytes(32)
"""What addresses are hashed with where no installation's key is at hand (``convert``, examples)."""


def normalise(
    post: Post,
    account: AccountConfig | None = None,
    tenant_key: bytes = NO_TENANT_KEY,
    only: Collection[int] | None = None,
) -> Normalised:
    """Everything that a post says. Never raises, whatever the bytes; one bad part leaves its neighbours unharmed.

    A post that carries no event passes without a signature. ``received_at`` is the only clock. ``only``: the parts that
    are read, by their number, and counted; None: all.
    """
    account = account or AccountConfig()
    if post.provider not in PROVIDERS:
        post = structs.replace(post, provider=canonical_name(post.provider))
    provider = PROVIDERS.get(post.provider)
    if provider is None:
        return _whole(Reason.UNKNOWN_PROVIDER, f"known are {', '.join(sorted(PROVIDERS))}")
    if len(post.body) > post.limits.body_bytes:
        return _whole(Reason.OVERSIZE, f"{len(post.body)} bytes, more than {post.limits.body_bytes}")
    if not post.body.strip():
        return Normalised(without_event=1)
    fits = verified(post, account)
    parts = provider.parts(post)
    if parts == []:
        return Normalised(without_event=1)
    if isinstance(parts, Rejected):
        result = Normalised(rejected=(parts,))
    else:
        chosen = [(number, part) for number, part in enumerate(parts) if only is None or number in only]
        result = _read_all(chosen, post, account, provider, tenant_key, fits)
    if not (result.events or result.rejected):
        return result
    if fits is False and account.signature != "mark":
        why = refusal(post) if account.has_keys() else "no key is configured for its account"
        result = _whole(Reason.SIGNATURE, why)
    return structs.replace(result, verified=fits)


def _whole(reason: Reason, detail: str) -> Normalised:
    return Normalised(rejected=(Rejected(reason, detail),))


def verified(post: Post, account: AccountConfig) -> bool | None:
    """Whether one of the account's keys fits the post, of a known provider; every one is tried. None: there was nothing
    to check."""
    if account.signature == "off" or not (account.has_keys() or account.signature == "require"):
        return None
    provider, keys = PROVIDERS[post.provider], (*account.secrets, *post.certificates)
    return any(provider.check(post, key) for key in keys) and provider.admits(post, account)


def refusal(post: Post) -> str:
    """Why no key fits a post of a known provider, as far as the post shows it."""
    return why_not(post, PROVIDERS[post.provider].signed_at(post))


def certified(post: Post, account: AccountConfig, certificates: Callable[[str], str | None]) -> Post:
    """The post with what ``verified`` needs beside the account's secrets. ``certificates``: the PEM at a URL whose host
    was checked, None where there is none; what it raises is passed on."""
    if not account.topics or account.signature == "off":
        return post
    found = map(certificates, PROVIDERS[post.provider].certificate_urls(post, account))
    return structs.replace(post, certificates=tuple(each for each in found if each is not None))


def _read_all(
    parts: list[tuple[int, Any]],
    post: Post,
    account: AccountConfig,
    provider: Provider,
    tenant_key: bytes,
    fits: bool | None,
) -> Normalised:
    events: list[Event] = []
    rejected: list[Rejected] = []
    without_event = 0
    read, headers, limit = provider.read, post.headers, post.limits.parts
    for number, part in parts:
        found = read(part, headers) if isinstance(part, dict) else None
        if found is None:
            if isinstance(part, Rejected):
                rejected.append(structs.replace(part, part=number))
            else:
                what = "an object without a type" if isinstance(part, dict) else "not an object"
                rejected.append(Rejected(Reason.SCHEMA, what, number))
            continue
        if not found:
            without_event += 1
        # One part may name many recipients.
        if len(events) + len(rejected) + len(found) > limit:
            return _whole(Reason.OVERSIZE, f"more than {limit} parts and recipients")
        for facts in found:
            made = assemble(facts, post, account, tenant_key, number, fits)
            if isinstance(made, Rejected):
                rejected.append(made)
            else:
                events.append(made)
    return Normalised(events=tuple(events), rejected=tuple(rejected), without_event=without_event)
