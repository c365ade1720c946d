"""Who is told of alerts: the log, signed webhooks, PagerDuty, and everything that Apprise reaches.

A receiver makes one attempt and says what came of it; when to try again is decided in ``couriers``. May not contain:
the choice of what is sent. No URL, secret or answer is ever logged: an incoming webhook's URL is a credential.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct

from stagepost import __version__
from stagepost.alerts.lifecycle import Phase, Severity
from stagepost.alerts.notifications import Notification, headline, lines, pagerduty_event, webhook_body
from stagepost.edges.errors import Stop
from stagepost.edges.logs import logger
from stagepost.settings import ReceiverSettings

ATTEMPT_S = 10.0
"""For one attempt, from the name lookup to the answer's head."""

_AGAIN = frozenset({408, 425, 429})
"""Client errors that pass by themselves; every server error may too."""

_MAX_WAIT_S = 300.0
"""Of what an answer's Retry-After asks for."""

_WEBHOOK_SECRET = "whsec_"
"""In front of a base64 key, as Standard Webhooks writes it; any other secret is taken as its bytes."""


class Delivered(Struct, frozen=True):
    """The receiver has it."""


class Failed(Struct, frozen=True):
    """The receiver does not have it, or did not say so in time. ``detail`` holds nothing of message or answer."""

    detail: str
    refused: bool = False
    """The receiver answered that it does not want this message: trying often will not help."""
    wait_s: float | None = None
    """What it asked to wait before the next attempt."""


class Receiver(Protocol):
    """One receiver. ``id`` is stable over restarts and holds no secret; ``channel`` is a metric label."""

    @property
    def id(self) -> str: ...

    @property
    def channel(self) -> str: ...

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        """One attempt, of ATTEMPT_S at most."""
        ...


class LogReceiver:
    """What is done while no receiver is set: one line for each revision."""

    id = "log"
    channel = "log"

    def __init__(self) -> None:
        self._log = logger("stagepost.alerts", channel=self.channel)

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        alert = notification.alert
        self._log.warning(
            headline(notification),
            alert=alert.metric,
            severity=alert.severity,
            scope_type=alert.scope["type"],
            incident_id=alert.incident_id,
            rev=alert.rev,
            status=alert.status,
            reason=alert.fields.get("reason"),
        )
        return Delivered()


class WebhookReceiver:
    """POSTs the record as JSON with the headers of https://www.standardwebhooks.com/, signed if there is a secret."""

    channel = "webhook"

    def __init__(self, url: str, secret: str | None, session: aiohttp.ClientSession) -> None:
        self.id = _receiver_id(self.channel, url)
        self._url = _checked_url(url, self.channel)
        self._key = None if secret is None else signing_key(secret)
        self._session = session

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        body = webhook_body(notification)
        headers = webhook_headers(notification.alert.key, int(time.time()), body, self._key)
        return await _post(self._session, self._url, body, headers)


class PagerDutyReceiver:
    """Events API v2. ``url``: its ``/v2/enqueue``."""

    channel = "pagerduty"

    def __init__(self, url: str, routing_key: str, session: aiohttp.ClientSession) -> None:
        self.id = _receiver_id(self.channel, url, routing_key)
        self._url = _checked_url(url, self.channel)
        self._routing_key = routing_key
        self._session = session

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        body = pagerduty_event(notification, self._routing_key)
        return await _post(self._session, self._url, body, {"content-type": "application/json"})


class AppriseReceiver:
    """Slack, Teams, mail and all else that an Apprise URL names. Raises Stop without the extra, or for a wrong URL."""

    channel = "apprise"

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError as error:
            raise Stop(
                "a receiver of type apprise needs the library Apprise: pip install 'stagepost[notify]'"
            ) from error
        self.id = _receiver_id(self.channel, url)
        self._target = apprise.Apprise()
        if not self._target.add(url):
            raise Stop("notify.receivers: Apprise does not know the form of this URL: https://appriseit.com/services/")
        self._busy = False

    async def deliver(self, notification: Notification) -> Delivered | Failed:
        if self._busy:
            return Failed("the message before is still on its way")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def send() -> None:
            try:
                sent = bool(self._target.notify(title=headline(notification), body=text, notify_type=kind))
            except Exception:  # whatever one of 150 plug-ins raises; its text may hold the URL
                sent = False
            with suppress(RuntimeError):  # the loop is closed: the process is ending
                loop.call_soon_threadsafe(finish, sent)

        def finish(sent: bool) -> None:
            self._busy = False
            if not done.done():
                done.set_result(sent)

        text, kind = "\n".join(lines(notification)), _apprise_kind(notification)
        self._busy = True
        # A daemon, since Apprise cannot be interrupted and must not hold up the end of the process.
        threading.Thread(target=send, name="apprise", daemon=True).start()
        try:
            async with asyncio.timeout(ATTEMPT_S):
                sent = await done
        except TimeoutError:
            return Failed(f"no answer within {ATTEMPT_S:g} s")
        return Delivered() if sent else Failed("Apprise could not deliver it")


def build_receivers(settings: Sequence[ReceiverSettings], session: aiohttp.ClientSession) -> tuple[Receiver, ...]:
    """The receivers of the settings; the log when there is none. Raises Stop naming the one that cannot be used."""
    built: dict[str, Receiver] = {}
    for number, each in enumerate(settings):
        try:
            receiver = _build(each, session)
        except Stop as error:
            raise Stop(f"notify.receivers[{number}]: {error}") from error
        if receiver.id in built:
            raise Stop(f"notify.receivers[{number}]: the same receiver is listed twice")
        built[receiver.id] = receiver
    return tuple(built.values()) or (LogReceiver(),)


def _build(settings: ReceiverSettings, session: aiohttp.ClientSession) -> Receiver:
    secret = None if settings.secret is None else settings.secret.get_secret_value()
    if settings.type == "webhook":
        return WebhookReceiver(settings.url, secret, session)
    if settings.type == "apprise":
        return AppriseReceiver(settings.url)
    if not secret:
        raise Stop("PagerDuty needs its routing key: set secret")
    return PagerDutyReceiver(settings.url, secret, session)


def client_session() -> aiohttp.ClientSession:
    """For all receivers: no cookies, no connection kept, no limit by which one could hold up another."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=ATTEMPT_S),
        headers={"user-agent": f"stagepost/{__version__}"},
    )


def signing_key(secret: str) -> bytes:
    """The key in a webhook's secret. Raises Stop when ``whsec_`` is not followed by base64.

    >>> signing_key("whsec_c3RhZ2Vwb3N0"), signing_key("plain")
    (b'stagepost', b'plain')
    """
    if not secret.startswith(_WEBHOOK_SECRET):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_WEBHOOK_SECRET), validate=True)
    except ValueError:
        raise Stop("the secret begins with whsec_, but what follows is not base64") from None


def webhook_headers(message_id: str, at: int, body: bytes, key: bytes | None = None) -> Mapping[str, str]:
    """Headers of Standard Webhooks: ``message_id`` stays the same over all attempts, ``at`` (Unix seconds) does not.

    The signature is HMAC-SHA256 over ``id.timestamp.body``, and there is none without a key.
    """
    headers = {"content-type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(at)}
    if key is not None:
        digest = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return MappingProxyType(headers)


async def _post(
    session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]
) -> Delivered | Failed:
    """One POST. Redirects are not followed, which could lead anywhere, and of the answer only the head is read."""
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            status, retry_after = answer.status, answer.headers.get("retry-after", "")
            answer.close()
    except TimeoutError:
        return Failed(f"no answer within {ATTEMPT_S:g} s")
    except (aiohttp.ClientError, OSError) as error:
        # Only the type: the text of these errors holds the address.
        return Failed(type(error).__name__)
    if 200 <= status < 300:
        return Delivered()
    wait_s = min(float(retry_after), _MAX_WAIT_S) if retry_after.isascii() and retry_after.isdigit() else None
    return Failed(f"status {status}", refused=status < 500 and status not in _AGAIN, wait_s=wait_s)


def _checked_url(url: str, channel: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Stop(f"the URL of a {channel} must begin with https:// or http:// and name a host")
    return url


def _receiver_id(channel: str, *parts: str) -> str:
    """Channel and a digest: a URL or routing key is as good as a password, and Redis is read by others."""
    return f"{channel}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _apprise_kind(notification: Notification) -> str:
    """Apprise's word for the colour of a message."""
    alert = notification.alert
    if alert.status is Phase.RESOLVED:
        return "success"
    return {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}[alert.severity]
