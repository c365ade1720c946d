"""The providers that can be read, and how another one is added.

Mailtrap was added by these steps, and its files are short enough to be the example:

1. **Read the vendor's page whole** and write down: every event type with every sub-type, the time and its unit, what
   identifies an event and a message, where the sender's own data is, how a post is signed, what a retry repeats.
2. **Write the payloads first**: ``tests/payloads/mailtrap/NAME.json`` is one post, the fields expected of its events
   and the rejections expected of its parts; ``types.txt`` beside them lists the documented types with what each may
   become. One file for every type or theme, and one with bad elements among good ones. Write them after the
   documented shapes, with invented people.
3. **Write the provider's file**, ``normalise/mailtrap.py``. It has ``NAME``; tables from the vendor's words to the
   vocabulary (``TYPES`` and alike), public, one line a name; ``read``, which turns one part into ``Facts``, one for
   each recipient; ``check``, which says whether one key fits a post. Take values with ``values``, ``times``,
   ``addresses``, ``answers`` and ``machines``: they raise nothing and are bounded. The docstring names the vendor's
   page and works out one id.

   - The id is made of what a retry repeats and another event does not: the event's own id where there is one, else
     type, message, time and link, each as it stands in the payload.
   - A name that the table lacks is ``email.unknown`` with a ``category``; keys that are not mapped are left alone.
   - Ask of each vendor's word what it means, not what it is called: Mailtrap's soft bounce is tried again and hence a
     deferral, its bounce is final, its suspension waits for a domain, its unsubscribe is for one domain.
   - ``machine`` is false only where the vendor says so, and ``url`` is set on clicks only.
4. **Tell the body's form** with ``parts`` if it is not a JSON array, one object or JSON lines: Mailtrap wraps its
   events in ``{"events": [...]}``. A part that cannot be read is a ``Rejected`` in its place, so that no neighbour is
   lost.
5. **Sign**: a new scheme is a function in ``signatures``, over the raw bytes, against ``received_at``.
6. **Name it**: here in ``PROVIDERS``, in ``events.PROVIDERS``, in ``settings.CAMPAIGN_PLACES`` with the names of its
   ``campaigns``, and in ``rollup.metrics.NOT_REPORTED`` with what none of its events becomes (Mailtrap has no event
   for a send).
7. **Test** ids, both forms of the body and the signature in ``tests/unit/normalise/test_mailtrap.py``, then look with
   your own eyes: ``stagepost convert mailtrap body.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from stagepost.events import Rejected
from stagepost.normalise import (
    brevo,
    mailersend,
    mailgun,
    mailjet,
    mailtrap,
    mandrill,
    postmark,
    resend,
    sendgrid,
    ses,
    sparkpost,
)
from stagepost.normalise.bodies import json_parts
from stagepost.normalise.facts import Facts
from stagepost.normalise.post import AccountConfig, Post
from stagepost.normalise.signatures import Check, signed_at

Read = Callable[[Mapping[str, Any], Mapping[str, str]], list[Facts] | None]
"""(one part, request headers) to facts, one for each recipient; an empty list where there is nothing to tell, None for
an object that says no type. Raises nothing."""

Parts = Callable[[Post], list[Any] | Rejected]
"""A post to its parts, each an object for ``Read`` or ``Rejected``; none of an empty body. Raises nothing."""

Admits = Callable[[Post, AccountConfig], bool]
"""Whether a post with a valid signature comes from where the account said. Raises nothing."""

CertificateUrls = Callable[[Post, AccountConfig], tuple[str, ...]]
"""Where certificates lie that the check of a post needs, of checked hosts only. Raises nothing."""


Tokens = Callable[[Post, str], tuple[str, ...]]
"""What one key signed where signatures do not cover the body: the same on a retry, and on nothing else. Raises
nothing."""


ConfirmationUrl = Callable[[Post, AccountConfig], str | None]
"""What a bridge has to call because the post asks whether more is wanted; None for all others. Raises nothing."""


SignedAt = Callable[[Post], str]
"""When a post says that it was signed, Unix seconds as text; empty where it does not. Raises nothing."""


def _none(post: Post, account: AccountConfig) -> tuple[str, ...]:
    return ()


def _covered(post: Post, key: str) -> tuple[str, ...]:
    return ()


def _nothing(post: Post, account: AccountConfig) -> str | None:
    return None


def _json(post: Post) -> list[Any] | Rejected:
    return json_parts(post.body, post.limits)


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
    tokens: Tokens = _covered
    confirmation_url: ConfirmationUrl = _nothing
    signed_at: SignedAt = signed_at


PROVIDERS: Mapping[str, Provider] = {
    **{
        module.NAME: Provider(module.NAME, module.read, module.check)
        for module in (brevo, mailersend, mailjet, postmark, resend, sendgrid, sparkpost)
    },
    **{module.NAME: Provider(module.NAME, module.read, module.check, module.parts) for module in (mailtrap, mandrill)},
    mailgun.NAME: Provider(
        mailgun.NAME, mailgun.read, mailgun.check, mailgun.parts, tokens=mailgun.tokens, signed_at=mailgun.signed_at
    ),
    ses.NAME: Provider(
        ses.NAME,
        ses.read,
        ses.check,
        ses.parts,
        ses.admits,
        ses.certificate_urls,
        confirmation_url=ses.confirmation_url,
    ),
}


def canonical_name(given: str) -> str:
    """The name of a provider as events have it, whatever its case or alias; an unknown one stays as it is."""
    return ALIASES.get(given.lower(), given.lower())
