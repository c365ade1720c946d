"""Whether a post was signed with one of the account's keys: pure functions of bytes, headers, keys and ``received_at``.

Never the worker's clock: a replay days later must decide the same. Comparisons take constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from stagepost.events import DAY, MICROS
from stagepost.normalise.post import Post

Check = Callable[[Post, str], bool]
"""(post, one key) to whether the key fits. A malformed key or signature does not fit; nothing raises."""

WINDOW = DAY
"""How far a signed time may lie from ``received_at``, both ways: SendGrid retries for 24 h."""


def sendgrid(post: Post, key: str) -> bool:
    """ECDSA P-256 with SHA-256 over timestamp and raw body; the key is base64 SPKI."""
    timestamp = post.headers.get("x-twilio-email-event-webhook-timestamp", "")
    signature = post.headers.get("x-twilio-email-event-webhook-signature", "")
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    if abs(int(timestamp) * MICROS - post.received_at) > WINDOW:
        return False
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        public.verify(base64.b64decode(signature, validate=True), timestamp.encode() + post.body, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def shared_secret(post: Post, key: str) -> bool:
    """``user:password`` (basic authentication) or ``header:NAME=VALUE``, as the webhook was set up with."""
    if key.startswith("header:"):
        name, _, value = key.removeprefix("header:").partition("=")
        given = post.headers.get(name.strip().lower(), "")
        return hmac.compare_digest(given.encode(), value.encode())
    scheme, _, credentials = post.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given_bytes = base64.b64decode(credentials.strip(), validate=True)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(given_bytes, key.encode())
