"""The two calls to Amazon SNS: certificates, fetched once and kept, and the confirmation of a subscription.

What checks signatures is pure and has certificates handed in.

The law: only a host and path of Amazon's are asked, no redirect is followed, size and time are bounded, and a failure
makes the batch wait: it is never passed unchecked, nor refused because a network was down. May not contain: what is
signed.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException
from typing import IO

from cryptography.x509 import load_pem_x509_certificates

from stagepost.edges.errors import SlowDown
from stagepost.normalise.signatures import sns_certificate_url

FETCH_S = 5.0
"""For one fetch, far below the time that a poll loop may stand still."""

SIZE_LIMIT = 64 * 1024
"""Bytes of a certificate file; Amazon's have some 2,000."""

KEPT = 64
"""Certificates in memory: one for each region, and the ones before a rotation."""

ABSENT_S = 60.0
"""How long it is believed that there is nothing at a URL."""

_AGAIN_S = 1.0
"""Between two attempts after a failure."""

_PASSING = frozenset({408, 425, 429})
"""Client errors that pass by themselves; every server error may too."""


class CertificateUnavailable(SlowDown):
    """The certificate could not be fetched now."""


class Certificates:
    """A bounded cache in front of ``fetch``; for one thread. ``clock`` and ``pause`` are in seconds."""

    def __init__(
        self,
        fetch: Callable[[str], str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fetch = fetch or fetch_pem
        self._clock = clock
        self._pause = pause
        self._kept: OrderedDict[str, tuple[str | None, float]] = OrderedDict()
        self._failed_at: float | None = None

    def pem(self, url: str) -> str | None:
        """The certificate at ``url``; None where there is none or the host is not Amazon's. Raises
        CertificateUnavailable, and then no sooner than a second after the last time."""
        if sns_certificate_url({"SigningCertURL": url}) is None:
            return None
        kept = self._kept.get(url)
        if kept is not None and (kept[0] is not None or self._clock() - kept[1] < ABSENT_S):
            self._kept.move_to_end(url)
            return kept[0]
        if self._failed_at is not None:
            self._pause(max(0.0, self._failed_at + _AGAIN_S - self._clock()))
        try:
            found = self._fetch(url)
        except CertificateUnavailable:
            self._failed_at = self._clock()
            raise
        self._failed_at = None
        self._kept[url] = (found, self._clock())
        self._kept.move_to_end(url)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """A redirect is an answer like any other that is no certificate."""


_opener = urllib.request.build_opener(_NoRedirect)


def fetch_pem(url: str, within_s: float = FETCH_S) -> str | None:
    """One attempt. None: the server says that there is nothing. Raises CertificateUnavailable for everything else that
    is no certificate."""
    until = time.monotonic() + within_s
    body = b""
    try:
        with _opener.open(url, timeout=within_s) as answer:
            while chunk := answer.read1(SIZE_LIMIT):
                body += chunk
                if len(body) > SIZE_LIMIT or time.monotonic() > until:
                    raise CertificateUnavailable("the SNS certificate is too large or came too slowly")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code < 500 and error.code not in _PASSING:
            return None
        raise CertificateUnavailable(f"the SNS certificate cannot be fetched: status {error.code}") from None
    except (OSError, HTTPException) as error:
        raise CertificateUnavailable(f"the SNS certificate cannot be fetched: {error}") from error
    try:
        load_pem_x509_certificates(body)
    except ValueError:
        raise CertificateUnavailable("what was fetched as SNS certificate is none") from None
    return body.decode("ascii", "replace")


def confirm(url: str, within_s: float = FETCH_S) -> bool:
    """Call ``ses.confirmation_url``; whether Amazon said that the subscription is confirmed."""
    try:
        with _opener.open(url, timeout=within_s) as answer:
            answer.read(SIZE_LIMIT)
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False
