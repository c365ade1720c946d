"""How a bridge answers each provider: which status code makes it send again, and how long it waits for one.

Facts of providers.md 2, as a table. May not contain: HTTP, a clock, what is done with a post.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct


class Answers(Struct, frozen=True):
    """``refused``: no configured key fits the post. ``unavailable``: Kafka has not confirmed it, send it again.
    ``patience_s``: the bridge answers before the sender gives up waiting."""

    refused: int = 401
    unavailable: int = 503
    patience_s: float = 8.0


_DEFAULT = Answers()

ANSWERS: Mapping[str, Answers] = MappingProxyType(
    {
        "sendgrid": _DEFAULT,
        # Sends again on everything but 200 and 406, and a post that no key fits will not fit later.
        "mailgun": Answers(refused=406),
        # Drops a post at once on every 4xx but 408 and 429: a mistyped secret here must not cost events.
        "postmark": Answers(refused=503),
        # 4xx is said to be permanent. Without any credentials it has to be asked for them first, see ``challenge``.
        "ses": Answers(refused=503),
        "sparkpost": _DEFAULT,
        "mandrill": _DEFAULT,
        # Discards at once on every 4xx and 5xx but 429.
        "brevo": Answers(refused=429, unavailable=429),
        "mailjet": _DEFAULT,
        "resend": _DEFAULT,
        # Waits three seconds, and pauses the webhook after twenty failures in a day.
        "mailersend": Answers(patience_s=2.5),
        "mailtrap": _DEFAULT,
    }
)
"""By provider; ``answers_of`` for one that is not here."""

_SIGNED = frozenset(
    "content-type user-agent authorization signature traceparent tracestate "
    "x-twilio-email-event-webhook-signature x-twilio-email-event-webhook-timestamp "
    "svix-id svix-timestamp svix-signature webhook-id webhook-timestamp webhook-signature "
    "x-mandrill-signature mailtrap-signature x-messagesystems-batch-id "
    "x-pm-webhook-trace-id x-pm-retries-remaining "
    "x-amz-sns-message-type x-amz-sns-message-id x-amz-sns-topic-arn x-amz-sns-subscription-arn "
    "x-amz-sns-rawdelivery".split()
)
"""Request headers that a signature, a carrier or a trace needs; the rest tells nothing of the event."""

_VALUE_LIMIT = 4 * 1024
"""Characters of a header worth keeping: the longest are signatures of some hundred."""


def answers_of(provider: str) -> Answers:
    """The row of a provider."""
    return ANSWERS.get(provider, _DEFAULT)


def challenge(provider: str, headers: Mapping[str, str]) -> bool:
    """Whether a refused post came without credentials from a sender that shows them only when asked (SNS)."""
    return provider == "ses" and "authorization" not in headers


def worth_keeping(headers: Iterable[tuple[str, str]], secrets: Iterable[str]) -> dict[str, str]:
    """Headers by lower-case name that go with the body, so that it can be checked again later: those of signatures, and
    those named by a secret ``header:NAME=VALUE``. The last of several wins, as in the normaliser."""
    named = {secret.removeprefix("header:").partition("=")[0].strip().lower() for secret in secrets if ":" in secret}
    kept = _SIGNED | named
    return {name.lower(): value for name, value in headers if name.lower() in kept and len(value) <= _VALUE_LIMIT}
