"""The providers that can be read. Adding one: a file with a table and ``read``, a line here, payloads in the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from stagepost.events import Rejected
from stagepost.normalise import mailgun, mandrill, postmark, sendgrid, ses
from stagepost.normalise.bodies import json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.post import AccountConfig, Post
from stagepost.normalise.signatures import Check

Read = Callable[[Mapping[str, Any], Mapping[str, str]], list[Facts] | None]
"""(one part, request headers) to facts, one for each recipient; an empty list where there is nothing to tell, None for
an object that says no type. Raises nothing."""

Parts = Callable[[Post], list[Any] | Rejected]
"""A post to its parts, each an object for ``Read`` or ``Rejected``; none of an empty body. Raises nothing."""

Admits = Callable[[Post, AccountConfig], bool]
"""Whether a post with a valid signature comes from where the account said. Raises nothing."""

CertificateUrls = Callable[[Post, AccountConfig], tuple[str, ...]]
"""Where certificates lie that the check of a post needs, of checked hosts only. Raises nothing."""


def _none(post: Post, account: AccountConfig) -> tuple[str, ...]:
    return ()


def _json(post: Post) -> list[Any] | Rejected:
    return json_parts(post.body)


def _anywhere(post: Post, account: AccountConfig) -> bool:
    return True


ALIASES: Mapping[str, str] = {"amazon_ses": "ses"}
"""Other names under which a provider is asked for."""


class Provider(Struct, frozen=True):
    """How one provider's posts are read, and how a signature is checked."""

    name: str
    read: Read
    check: Check
    parts: Parts = _json
    admits: Admits = _anywhere
    certificate_urls: CertificateUrls = _none


PROVIDERS: Mapping[str, Provider] = {
    **{module.NAME: Provider(module.NAME, module.read, module.check) for module in (postmark, sendgrid)},
    **{module.NAME: Provider(module.NAME, module.read, module.check, module.parts) for module in (mailgun, mandrill)},
    ses.NAME: Provider(ses.NAME, ses.read, ses.check, ses.parts, ses.admits, ses.certificate_urls),
}


def canonical_name(given: str) -> str:
    """The name of a provider as events have it, whatever its case or alias; an unknown one stays as it is."""
    return ALIASES.get(given.lower(), given.lower())
