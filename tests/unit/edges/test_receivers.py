"""Receivers against a real HTTP server on this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from tests.listeners import Listener, alert_record, listening

from stagepost.alerts.notifications import Alert, Notification, read_alert
from stagepost.edges import receivers
from stagepost.edges.errors import Stop
from stagepost.edges.local_servers import free_ports
from stagepost.edges.receivers import Delivered, Failed, Receiver, build_receivers, client_session
from stagepost.settings import ReceiverSettings

INCIDENT = "8f3a-2026-05-04T09:35Z"


def notification(rev: int = 1, status: str = "firing") -> Notification:
    alert = read_alert(alert_record(INCIDENT, rev, status))
    assert isinstance(alert, Alert)
    return Notification(alert)


def settings(url: str, type_: str = "webhook", secret: str | None = None) -> ReceiverSettings:
    return ReceiverSettings(url=url, type=type_, secret=None if secret is None else SecretStr(secret))


def deliver(*each: ReceiverSettings, rev: int = 1) -> list[Delivered | Failed]:
    """What one attempt at each receiver came to."""

    async def attempts() -> list[Delivered | Failed]:
        async with client_session() as session:
            return [await receiver.deliver(notification(rev)) for receiver in build_receivers(each, session)]

    return asyncio.run(attempts())


def built(*each: ReceiverSettings) -> tuple[Receiver, ...]:
    async def build() -> tuple[Receiver, ...]:
        async with client_session() as session:
            return build_receivers(each, session)

    return asyncio.run(build())


@pytest.mark.parametrize(
    ("secret", "key"),
    [("whsec_" + base64.b64encode(b"stagepost").decode(), b"stagepost"), ("plain text", b"plain text")],
)
def test_a_webhook_is_signed_over_id_time_and_body(secret: str, key: bytes) -> None:
    with listening(Listener()) as listener:
        assert [Delivered()] == deliver(settings(listener.url, secret=secret))
    [request] = listener.requests
    stamp = request.headers["webhook-timestamp"]
    assert abs(time.time() - int(stamp)) < 60
    assert f"{INCIDENT}:1" == request.headers["webhook-id"] == request.key
    signed = f"{INCIDENT}:1.{stamp}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{expected}" == request.headers["webhook-signature"]
    assert "application/json" == request.headers["content-type"]


def test_a_webhook_without_secret_has_no_signature() -> None:
    with listening(Listener()) as listener:
        deliver(settings(listener.url))
    assert "webhook-signature" not in listener.requests[0].headers


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {}, Failed("status 500")),
        (503, {"Retry-After": "7"}, Failed("status 503", wait_s=7.0)),
        (429, {"Retry-After": "999999"}, Failed("status 429", wait_s=300.0)),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Failed("status 429")),
        (400, {}, Failed("status 400", refused=True)),
        (302, {"Location": "http://127.0.0.1:9/"}, Failed("status 302", refused=True)),
    ],
)
def test_an_answer_other_than_2xx_is_no_delivery(status: int, headers: dict[str, str], expected: Failed) -> None:
    with listening(Listener(status=status, headers=headers)) as listener:
        assert [expected] == deliver(settings(listener.url))


def test_a_redirect_is_not_followed() -> None:
    with listening(Listener()) as inside, listening(Listener(status=307, headers={"Location": inside.url})) as outside:
        deliver(settings(outside.url))
    assert ([], 1) == (inside.requests, len(outside.requests))


def test_a_huge_answer_is_not_read() -> None:
    with listening(Listener(status=200, headers={"Content-Length": str(1 << 40)}, body=b"x" * 1000)) as listener:
        began = time.monotonic()
        assert [Delivered()] == deliver(settings(listener.url))
    assert 2 > time.monotonic() - began


def test_who_does_not_answer_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "ATTEMPT_S", 0.2)
    with listening(Listener(delay_s=1)) as listener:
        assert [Failed("no answer within 0.2 s")] == deliver(settings(listener.url))


def test_who_cannot_be_reached_has_failed_and_the_reason_holds_no_address() -> None:
    [port] = free_ports(1)
    assert [Failed("ClientConnectorError")] == deliver(settings(f"http://127.0.0.1:{port}/token"))


def test_pagerduty_gets_its_routing_key_in_the_event() -> None:
    with listening(Listener(status=202)) as listener:
        assert [Delivered()] == deliver(settings(listener.url, "pagerduty", "R0UT1NG"))
    [request] = listener.requests
    assert ("R0UT1NG", "trigger", INCIDENT) == tuple(
        request.json()[name] for name in ("routing_key", "event_action", "dedup_key")
    )


def test_without_receivers_the_log_is_the_receiver() -> None:
    [receiver] = built()
    assert ("log", "log") == (receiver.id, receiver.channel)
    assert [Delivered()] == deliver()


def test_a_receivers_id_is_stable_and_holds_nothing_of_its_url_or_secret() -> None:
    url = "https://hooks.example.com/T0KEN"
    ids = [
        receiver.id
        for receiver in built(settings(url), settings(url, "pagerduty", "k1"), settings(url, "pagerduty", "k2"))
    ]
    assert 3 == len(set(ids))
    assert ids[0] == built(settings(url, secret="rotated"))[0].id
    assert not any("T0KEN" in id_ or "k1" in id_ for id_ in ids)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (settings("ftp://example.com/x"), "https://"),
        (settings("file:///etc/passwd"), "https://"),
        (settings("https:///nowhere"), "name a host"),
        (settings("https://example.com", secret="whsec_%%%"), "base64"),
        (settings("https://example.com", "pagerduty"), "routing key"),
    ],
)
def test_a_receiver_that_cannot_work_is_named(wrong: ReceiverSettings, said: str) -> None:
    with pytest.raises(Stop) as raised:
        built(settings("https://example.com/first"), wrong)
    assert "notify.receivers[1]" in str(raised.value)
    assert said in str(raised.value)


def test_the_same_receiver_twice_is_named() -> None:
    with pytest.raises(Stop, match="listed twice"):
        built(settings("https://example.com/a"), settings("https://example.com/a"))


def test_without_the_extra_an_apprise_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(Stop) as raised:
        built(settings("slack://T0KEN/a/b", "apprise"))
    assert "pip install 'stagepost[notify]'" in str(raised.value)
    assert "T0KEN" not in str(raised.value)


@pytest.fixture
def apprise_url() -> Callable[[Listener], str]:
    pytest.importorskip("apprise", reason="the extra notify is not installed")
    return lambda listener: listener.url.replace("http://", "json://")


def test_apprise_gets_headline_and_text(apprise_url: Callable[[Listener], str]) -> None:
    with listening(Listener(status=200)) as listener:
        assert [Delivered()] == deliver(settings(apprise_url(listener), "apprise"))
    told = json.loads(listener.requests[0].body)
    assert "FIRING (warning): Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h" == told["title"]
    assert "36 events, 6.6 expected" in told["message"]
    assert "warning" == told["type"]


def test_apprise_that_fails_or_hangs_has_failed(
    apprise_url: Callable[[Listener], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(Listener(status=500)) as listener:
        assert [Failed("Apprise could not deliver it")] == deliver(settings(apprise_url(listener), "apprise"))
    monkeypatch.setattr(receivers, "ATTEMPT_S", 0.2)
    with listening(Listener(delay_s=1)) as listener:
        assert [Failed("no answer within 0.2 s")] == deliver(settings(apprise_url(listener), "apprise"))


def test_an_apprise_url_that_is_none_is_named(apprise_url: Callable[[Listener], str]) -> None:
    with pytest.raises(Stop, match=r"notify.receivers\[0\].*form of this URL"):
        built(settings("nosuchscheme://T0KEN", "apprise"))
