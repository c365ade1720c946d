"""What goes into the normaliser and what comes out: one webhook post, one account's settings, events and rejections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from stagepost.events import Event, Rejected
from stagepost.normalise.limits import LIMITS, Limits

Signature = Literal["off", "check", "mark", "require"]
"""``check``: where secrets are set, a post that none fits is rejected. ``mark``: it passes with ``verified: false``.
``require``: as ``check``, and an account without secrets rejects everything. ``off``: nothing is checked."""


class AccountConfig(Struct, frozen=True, kw_only=True):
    """One account at a provider (providers.md 5.6). ``provider`` None: the header of each post says it."""

    provider: str | None = None
    secrets: tuple[str, ...] = ()
    """Every key that may have signed: several during a rotation."""
    signature: Signature = "check"
    contact_keys: tuple[str, ...] = ("contact_id",)
    campaign_keys: tuple[str, ...] = ("campaign_id",)
    campaign_from: tuple[str, ...] = ()
    """Names of places where a campaign is looked for, in order; empty: the provider's own order. ``metadata`` stands
    for ``campaign_keys``, which go first where it is not named."""
    sending_domain: str | None = None
    variants: Literal["ignore", "count"] = "ignore"
    topics: tuple[str, ...] = ()
    """ARNs of the SNS topics that may send. A valid signature proves that Amazon sent it, for whomever: without a list
    anybody's topic passes. A list alone has signatures checked, with the certificates that came with the post."""
    metadata_headers: tuple[str, ...] = ("x-metadata",)
    """Headers of the mail itself that hold metadata as a JSON object, where a provider reports headers."""
    tag_headers: tuple[str, ...] = ("x-tag", "x-tags")
    """Headers of the mail itself that hold a tag, or tags as a JSON array."""

    def has_keys(self) -> bool:
        """Whether there is anything to check a signature by."""
        return bool(self.secrets or self.topics)

    def is_of(self, provider: str) -> bool:
        """Whether it takes posts of the provider; without one of its own it takes those of all."""
        return self.provider in (None, provider)


STRANGER = AccountConfig(signature="require")
"""What a post is read with that no key can fit; a ping passes."""


def account_of(accounts: Mapping[str, AccountConfig], provider: str, name: str) -> AccountConfig:
    """The settings of an account; one that is not configured has the defaults. Under the name of another provider's
    account with keys it is a ``STRANGER``: the public key of one provider would be the shared secret of another."""
    found = accounts.get(name) or AccountConfig(provider=provider)
    return STRANGER if found.has_keys() and not found.is_of(provider) else found


def is_keyed(accounts: Mapping[str, AccountConfig], provider: str) -> bool:
    """Whether an account has keys that posts of this provider are checked by."""
    return any(account.has_keys() and account.is_of(provider) for account in accounts.values())


def is_open_to(accounts: Mapping[str, AccountConfig], provider: str, name: str) -> bool:
    """Whether the public may post under this name: any, until an account of the provider has keys; then those that are
    configured, else whoever invents a name would need no signature."""
    if account_of(accounts, provider, name) is STRANGER:
        return False
    return (name in accounts and accounts[name].is_of(provider)) or not is_keyed(accounts, provider)


class Post(Struct, frozen=True, kw_only=True):
    """One webhook post as it was received. ``headers`` have lower-case names; ``received_at`` is micros."""

    provider: str
    account: str
    body: bytes
    headers: Mapping[str, str]
    received_at: int
    url: str | None = None
    place: tuple[str, int, int] | None = None
    """Topic, partition and offset where the post lies; None where it lies nowhere."""
    certificates: tuple[str, ...] = ()
    """PEM, fetched from the checked hosts that the post names (SNS); they may verify beside the account's secrets."""
    limits: Limits = LIMITS
    """How much of it is read."""


class Normalised(Struct, frozen=True, kw_only=True):
    """What a post became. One part is one (provider event, recipient), so that always
    ``parts == len(events) + len(rejected) + without_event``; a body rejected whole is one part."""

    events: tuple[Event, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    without_event: int = 0
    """Pings, confirmations and empty posts: understood, and nothing to tell."""
    verified: bool | None = None
    """Whether a key of the account had signed; None: nothing was checked, or there was nothing to protect."""

    @property
    def parts(self) -> int:
        return len(self.events) + len(self.rejected) + self.without_event
