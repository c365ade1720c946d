"""Whether a post was signed with one of the account's keys: pure functions of bytes, headers, keys and ``received_at``.

Never the worker's clock: a replay days later must decide the same. Comparisons take constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificates

from stagepost.events import DAY, HOUR, MICROS, MINUTE
from stagepost.normalise.post import Post

Check = Callable[[Post, str], bool]
"""(post, one key) to whether the key fits. A malformed key or signature does not fit; nothing raises."""

WINDOW = DAY
"""How far a signed time may lie from ``received_at``, both ways: SendGrid retries for 24 h, Mailgun for 8 h with the
signature of the first try."""

_CERTIFICATE_URL = re.compile(
    r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/SimpleNotificationService-[A-Za-z0-9_-]{1,100}\.pem"
)

_SNS_HASHES: Mapping[str, type[SHA1 | SHA256]] = {"1": SHA1, "2": SHA256}
"""By SignatureVersion."""

_SNS_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""What SNS signs, in this order."""


def sendgrid(post: Post, key: str) -> bool:
    """ECDSA P-256 with SHA-256 over timestamp and raw body; the key is base64 SPKI."""
    timestamp = post.headers.get("x-twilio-email-event-webhook-timestamp", "")
    signature = post.headers.get("x-twilio-email-event-webhook-signature", "")
    if not _timely(timestamp, post.received_at):
        return False
    public = _public_key(key)
    if public is None:
        return False
    try:
        public.verify(base64.b64decode(signature, validate=True), timestamp.encode() + post.body, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _public_key(key: str) -> ec.EllipticCurvePublicKey | None:
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return None
    return public if isinstance(public, ec.EllipticCurvePublicKey) else None


def _timely(timestamp: str, received_at: int, window: int = WINDOW) -> bool:
    """Whether Unix seconds, written as text, lie within the window around ``received_at``."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    return abs(int(timestamp) * MICROS - received_at) <= window


def mailgun(timestamp: str, token: str, signature: str, key: str, received_at: int) -> bool:
    """Hex HMAC-SHA-256 over timestamp and token, all three in the body; it does not cover the event."""
    if not token or not _timely(timestamp, received_at):
        return False
    expected = hmac.new(_bytes(key), _bytes(timestamp + token), hashlib.sha256).hexdigest()
    return hmac.compare_digest(_bytes(signature.lower()), expected.encode())


def mandrill(url: str, fields: Sequence[tuple[bytes, bytes]], signature: str, key: str) -> bool:
    """Base64 HMAC-SHA-1 over the URL as it was called and each field's name and value, sorted by name."""
    signed = _bytes(url) + b"".join(name + value for name, value in sorted(fields, key=lambda field: field[0]))
    expected = base64.b64encode(hmac.new(_bytes(key), signed, hashlib.sha1).digest())
    return hmac.compare_digest(_bytes(signature.strip()), expected)


def sns_certificate_url(envelope: Mapping[str, Any]) -> str | None:
    """Where an SNS envelope says its certificate lies, if that is a host and a path of Amazon's; None otherwise."""
    given = envelope.get("SigningCertURL") or envelope.get("SigningCertUrl")
    return given if isinstance(given, str) and _CERTIFICATE_URL.fullmatch(given) else None


def sns(envelope: Mapping[str, Any], certificates: str) -> bool:
    """RSA over the fields of an SNS envelope, with SHA-1 or SHA-256 as its version says; ``certificates`` are PEM.

    The place of the certificate is checked also though one is given. That the topic is ours is another question.
    """
    names = _SNS_FIELDS.get(str(envelope.get("Type")))
    hash_ = _SNS_HASHES.get(str(envelope.get("SignatureVersion")))
    if names is None or hash_ is None or sns_certificate_url(envelope) is None:
        return False
    signed = []
    for name in names:
        value = envelope.get(name)
        if value is None and name == "Subject":
            continue
        if not isinstance(value, str):
            return False
        signed += [name, value]
    text = _bytes("".join(f"{line}\n" for line in signed))
    try:
        signature = base64.b64decode(str(envelope.get("Signature")), validate=True)
        keys = [certificate.public_key() for certificate in load_pem_x509_certificates(_bytes(certificates))]
    except (ValueError, UnsupportedAlgorithm):
        return False
    return any(isinstance(key, rsa.RSAPublicKey) and _rsa_fits(key, signature, text, hash_()) for key in keys)


def _rsa_fits(key: rsa.RSAPublicKey, signature: bytes, text: bytes, hash_: SHA1 | SHA256) -> bool:
    try:
        key.verify(signature, text, PKCS1v15(), hash_)
    except InvalidSignature:
        return False
    return True


def _bytes(text: str) -> bytes:
    """UTF-8; text that cannot be encoded came from bytes that were none, and fits nothing."""
    return text.encode("utf-8", "surrogatepass")


def shared_secret(post: Post, key: str) -> bool:
    """``user:password`` (basic authentication) or ``header:NAME=VALUE``, as the webhook was set up with."""
    if key.startswith("header:"):
        name, _, value = key.removeprefix("header:").partition("=")
        value, given = value.strip(), post.headers.get(name.strip().lower(), "").strip()
        # Without a value every post that lacks the header would fit.
        return bool(value) and hmac.compare_digest(_bytes(given), _bytes(value))
    scheme, _, credentials = post.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given_bytes = base64.b64decode(credentials.strip(), validate=True)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(given_bytes, _bytes(key))


RESEND_WINDOW = 300 * MICROS
"""What Standard Webhooks prescribes; the timestamp is renewed at every attempt."""


def resend(post: Post, key: str) -> bool:
    """Standard Webhooks under Svix's header names: HMAC-SHA256 over ``id.timestamp.body``, any of several ``v1``.

    The key is base64, mostly after ``whsec_``. ``v1a`` are ed25519 signatures, for which there is no shared key.
    """
    timestamp = post.headers.get("svix-timestamp", "")
    if not _timely(timestamp, post.received_at, RESEND_WINDOW):
        return False
    secret = _standard_webhooks_secret(key)
    if not secret:
        return False
    signed = b".".join((_bytes(post.headers.get("svix-id", "")), timestamp.encode(), post.body))
    expected = b"v1," + base64.b64encode(hmac.digest(secret, signed, "sha256"))
    given = post.headers.get("svix-signature", "").split()
    return any(hmac.compare_digest(_bytes(one), expected) for one in given)


def _standard_webhooks_secret(key: str) -> bytes:
    """Empty where there is none."""
    try:
        return base64.b64decode(_bytes(key.removeprefix("whsec_")), validate=True)
    except (ValueError, binascii.Error):
        return b""


def mailersend(post: Post, key: str) -> bool:
    """Hex HMAC-SHA256 over the raw body. No timestamp: a captured post can be sent again."""
    return _hex_of_body(post, key, "signature")


def mailtrap(post: Post, key: str) -> bool:
    """As MailerSend's, under another header."""
    return _hex_of_body(post, key, "mailtrap-signature")


def _hex_of_body(post: Post, key: str, header: str) -> bool:
    expected = hmac.digest(_bytes(key), post.body, "sha256").hex()
    return hmac.compare_digest(_bytes(post.headers.get(header, "").strip().lower()), expected.encode())


_HEADERS: Mapping[str, tuple[str, str | None]] = {
    "sendgrid": ("x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"),
    "resend": ("svix-signature", "svix-timestamp"),
    "mandrill": ("x-mandrill-signature", None),
    "mailersend": ("signature", None),
    "mailtrap": ("mailtrap-signature", None),
}
"""By provider: the header with the signature, and the one with its time."""


def signed_at(post: Post) -> str:
    """Unix seconds as the post has them in a header; empty where its scheme has no such header."""
    _, header = _HEADERS.get(post.provider, ("", None))
    return post.headers.get(header, "") if header is not None else ""


def why_not(post: Post, timestamp: str) -> str:
    """What a person can mend about a post that no key fits, if that can be seen: a header that was lost on the way, a
    clock, a post that was kept for long. ``timestamp``: when it was signed, Unix seconds."""
    header, _ = _HEADERS.get(post.provider, ("", None))
    if header and header not in post.headers:
        return f"it has no header {header}"
    window = RESEND_WINDOW if post.provider == "resend" else WINDOW
    if timestamp and not _timely(timestamp, post.received_at, window):
        when = "at no time that can be read"
        if timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 11:
            apart = post.received_at - int(timestamp) * MICROS
            when = f"{_span(abs(apart))} {'before' if apart > 0 else 'after'} it was received"
        return f"it was signed {when}, and {_span(window)} are allowed"
    return "no configured key fits the post"


def _span(micros: int) -> str:
    return f"{micros / HOUR:.0f} h" if micros >= 2 * HOUR else f"{micros / MINUTE:.0f} min"


def never_fits(provider: str, key: str) -> str | None:
    """Why a key fits no post of a provider, whatever the post; None where it may fit some."""
    if not key.strip():
        return "is empty"
    if provider == "sendgrid":
        return None if _public_key(key) is not None else "is no public key of SendGrid's (base64, one line)"
    if provider == "resend":
        return None if _standard_webhooks_secret(key) else "is no signing secret of Resend's (whsec_ and base64)"
    if provider == "ses" and "-----BEGIN" in key:
        return None if _is_certificate(key) else "is no certificate"
    if provider in _WITHOUT_A_SCHEME:
        shown = re.fullmatch(r"header:\s*[^\s=]+\s*=\s*\S.*|(?!header:)(?:[^:]+:.*|:.+)", key, re.DOTALL)
        return None if shown is not None else "is neither USER:PASSWORD nor header:NAME=VALUE"
    return None


_WITHOUT_A_SCHEME = frozenset({"brevo", "mailjet", "postmark", "ses", "sparkpost"})
"""Their posts show a shared secret."""


def _is_certificate(key: str) -> bool:
    try:
        return bool(load_pem_x509_certificates(_bytes(key)))
    except ValueError:
        return False
