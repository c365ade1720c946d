"""How a bridge answers each provider: which status code makes it send again, and how long it waits for one.

Facts of providers.md 2, as a table. May not contain: HTTP, a clock, what is done with a post.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

from stagepost.events import DAY


class Answers(Struct, frozen=True):
    """``refused``: no configured key fits the post. ``unavailable``: Kafka has not confirmed it, send it again.
    ``oversize``: the body is over the limit. ``patience_s``: the bridge answers before the sender gives up waiting."""

    refused: int = 401
    unavailable: int = 503
    oversize: int = 413
    patience_s: float = 8.0


_DEFAULT = Answers()

ANSWERS: Mapping[str, Answers] = MappingProxyType(
    {
        "sendgrid": _DEFAULT,
        # Sends again on everything but 200 and 406, and a post that no key fits will not fit later.
        "mailgun": Answers(refused=406),
        # Drops a post at once on every 4xx but 408 and 429: a mistyped secret here must not cost events.
        "postmark": Answers(refused=503, oversize=503),
        # 4xx is said to be permanent. Without any credentials it has to be asked for them first, see ``challenge``.
        "ses": Answers(refused=503, oversize=503),
        "sparkpost": _DEFAULT,
        "mandrill": _DEFAULT,
        # Discards at once on every 4xx and 5xx but 429.
        "brevo": Answers(refused=429, unavailable=429, oversize=429),
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

_FIREHOSE_REQUEST = "x-amz-firehose-request-id"

_VALUE_LIMIT = 4 * 1024
"""Characters of a header worth keeping: the longest are signatures of some hundred."""


TOKENS = 100_000
"""Remembered at most: some days of a large sender, in about 20 MiB."""


class TokenMemory:
    """Tokens of posts that were accepted, with a digest of each body: a token that comes with another body was captured
    and signs a forgery. ``span``: micros for which a token can be signed with at all."""

    def __init__(self, span: int = DAY, size: int = TOKENS) -> None:
        self._span = span
        self._size = size
        self._known: OrderedDict[str, tuple[bytes, int]] = OrderedDict()

    def admits(self, tokens: Iterable[str], body: bytes, now: int) -> bool:
        """Whether each token is new, or came with the same body before; they are remembered. ``now`` in micros."""
        digest = hashlib.blake2b(body, digest_size=16).digest()
        while self._known and (
            len(self._known) > self._size or next(iter(self._known.values()))[1] < now - 2 * self._span
        ):
            self._known.popitem(last=False)
        return all(self._known.setdefault(token, (digest, now))[0] == digest for token in tokens)


def answers_of(provider: str) -> Answers:
    """The row of a provider."""
    return ANSWERS.get(provider, _DEFAULT)


def challenge(provider: str, headers: Mapping[str, str], secrets: Iterable[str]) -> bool:
    """Whether a refused post came without the credentials that are wanted from a sender that shows them only when asked
    (SNS, which drops what is answered so without them)."""
    return provider == "ses" and "authorization" not in headers and any(map(_is_basic, secrets))


def _is_basic(secret: str) -> bool:
    """``user:password``, and neither a header nor a certificate."""
    return ":" in secret and not secret.startswith("header:") and "-----BEGIN" not in secret


def firehose_answer(headers: Mapping[str, str], code: int, text: str, now: int) -> dict[str, object] | None:
    """The JSON that Firehose wants of an HTTP endpoint, else it sends the post again; None for any other sender.
    ``now`` in micros."""
    request = headers.get(_FIREHOSE_REQUEST)
    if request is None:
        return None
    answer: dict[str, object] = {"requestId": request[:_VALUE_LIMIT], "timestamp": now // 1000}
    return answer if code == 200 else {**answer, "errorMessage": text}


def worth_keeping(headers: Iterable[tuple[str, str]], secrets: Iterable[str]) -> dict[str, str]:
    """Headers by lower-case name that go with the body, so that it can be checked again later: those of signatures, and
    those named by a secret ``header:NAME=VALUE``. The last of several wins, as in the normaliser."""
    named = {secret.removeprefix("header:").partition("=")[0].strip().lower() for secret in secrets if ":" in secret}
    kept = _SIGNED | named
    return {name.lower(): value for name, value in headers if name.lower() in kept and len(value) <= _VALUE_LIMIT}
