"""Webhook posts of e-mail providers to one vocabulary: bytes and headers in, events and rejections out. Pure.

>>> post = Post(provider="postmark", account="default", headers={}, received_at=1_793_610_847_000_000, body=b'''
...     {"RecordType": "Click", "MessageID": "m-1", "Recipient": "ann@example.com",
...      "ReceivedAt": "2026-11-02T09:14:00Z", "OriginalLink": "https://example.com/pricing",
...      "Metadata": {"contact_id": "c-1"}, "Tag": "nurture-3"}''')
>>> [(event.type, event.contact, event.campaign, event.url) for event in normalise(post).events]
[('email.clicked', 'c-1', 'nurture-3', 'https://example.com/pricing')]
"""

from __future__ import annotations

from typing import Any

from stagepost.events import Event, Reason, Rejected
from stagepost.normalise.bodies import BODY_LIMIT, json_parts
from stagepost.normalise.facts import assemble
from stagepost.normalise.post import AccountConfig, Normalised, Post
from stagepost.normalise.registry import PROVIDERS, Provider

__all__ = ["PROVIDERS", "AccountConfig", "Normalised", "Post", "normalise"]

NO_TENANT_KEY = bytes(32)
"""What addresses are hashed with where no installation's key is at hand (``convert``, examples)."""


def normalise(post: Post, account: AccountConfig | None = None, tenant_key: bytes = NO_TENANT_KEY) -> Normalised:
    """Everything that a post says. Never raises, whatever the bytes; one bad part leaves its neighbours unharmed.

    A post that carries no event passes without a signature. ``received_at`` is the only clock.
    """
    account = account or AccountConfig()
    provider = PROVIDERS.get(post.provider)
    if provider is None:
        return _whole(Reason.UNKNOWN_PROVIDER, f"known are {', '.join(sorted(PROVIDERS))}")
    if len(post.body) > BODY_LIMIT:
        return _whole(Reason.OVERSIZE, f"{len(post.body)} bytes, more than {BODY_LIMIT}")
    if not post.body.strip():
        return Normalised(without_event=1)
    verified = _verified(post, account, provider)
    parts = json_parts(post.body)
    if parts == []:
        return Normalised(without_event=1)
    if verified is False and account.signature != "mark":
        refused = Rejected(Reason.SIGNATURE, "no configured key fits the post")
        return Normalised(rejected=(refused,), verified=False)
    if isinstance(parts, Rejected):
        return Normalised(rejected=(parts,), verified=verified)
    return _read_all(parts, post, account, provider, tenant_key, verified)


def _whole(reason: Reason, detail: str) -> Normalised:
    return Normalised(rejected=(Rejected(reason, detail),))


def _verified(post: Post, account: AccountConfig, provider: Provider) -> bool | None:
    """None: there was nothing to check. Every configured key is tried."""
    if account.signature == "off" or (not account.secrets and account.signature != "require"):
        return None
    return any(provider.check(post, secret) for secret in account.secrets)


def _read_all(
    parts: list[Any], post: Post, account: AccountConfig, provider: Provider, tenant_key: bytes, verified: bool | None
) -> Normalised:
    events: list[Event] = []
    rejected: list[Rejected] = []
    without_event = 0
    for number, part in enumerate(parts):
        found = provider.read(part, post.headers) if isinstance(part, dict) else None
        if found is None:
            what = "an object without a type" if isinstance(part, dict) else "not an object"
            rejected.append(Rejected(Reason.SCHEMA, what, number))
            continue
        if not found:
            without_event += 1
        for facts in found:
            made = assemble(facts, post, account, tenant_key, number, verified)
            if isinstance(made, Rejected):
                rejected.append(made)
            else:
                events.append(made)
    return Normalised(events=tuple(events), rejected=tuple(rejected), without_event=without_event, verified=verified)
