from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from msgspec import structs
from tests.sns import TOPIC, SnsKeys

from stagepost.edges import bridge as receiving
from stagepost.edges.bridge import Bridge
from stagepost.edges.confirmed import NotConfirmed
from stagepost.edges.metrics import Metrics
from stagepost.edges.sns import CertificateUnavailable
from stagepost.engine.plan import Emit, Topic
from stagepost.normalise import AccountConfig
from stagepost.normalise.limits import LIMITS

BODY = b'{"RecordType":"Delivery","Recipient":"ann@example.com"}'


class Sink:
    """Stands in for the confirmed producer; the real one is tested against a broker."""

    def __init__(self) -> None:
        self.sent: list[Emit] = []
        self.error: Exception | None = None
        self.there = True

    async def send(self, emit: Emit) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(emit)

    def alive(self) -> bool:
        return self.there

    def close(self, within_s: float) -> int:
        return 0


class Amazon:
    """Answers the two calls to SNS; what they do over a network is tested in ``test_sns.py``."""

    def __init__(self, pem: str | None = None, confirms: bool = True) -> None:
        self.pem = pem
        self.confirms = confirms
        self.confirmed: list[str] = []
        self.away = False

    def certificate(self, url: str) -> str | None:
        if self.away:
            raise CertificateUnavailable("away")
        return self.pem

    def confirm(self, url: str) -> bool:
        self.confirmed.append(url)
        return self.confirms


@contextmanager
def bridge(
    sink: Sink, metrics: Metrics | None = None, amazon: Amazon | None = None, **accounts: AccountConfig
) -> Iterator[int]:
    calls = amazon or Amazon()
    running = Bridge(
        ("127.0.0.1", 0),
        accounts,
        sink,  # type: ignore[arg-type]
        metrics or Metrics(),
        certificates=calls.certificate,
        confirm=calls.confirm,
    )
    with serving(running) as port:
        yield port


@contextmanager
def serving(running: Bridge) -> Iterator[int]:
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running.port
    finally:
        running.stop()
        thread.join(20)
        assert not thread.is_alive()


def call(
    port: int, path: str, body: bytes | None = BODY, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def test_a_post_becomes_a_record_with_the_same_bytes_and_the_headers_that_the_normaliser_needs() -> None:
    sink = Sink()
    with bridge(sink) as port:
        odd = b'\xff{"a": 1 }\r\n'
        status, _, _ = call(
            port, "/webhooks/postmark/main?x=1", odd, {"Content-Type": "application/json", "Cookie": "c"}
        )
    [emit] = sink.sent
    kept = dict(emit.headers)
    assert (status, emit.topic, emit.key, emit.value) == (200, Topic.RAW, None, odd)
    assert kept.pop("received_at").endswith(b"Z")
    assert kept == {
        "provider": b"postmark",
        "account": b"main",
        "content-type": b"application/json",
        "url": f"http://127.0.0.1:{port}/webhooks/postmark/main?x=1".encode(),
    }


def test_without_the_clusters_word_there_is_no_2xx_and_the_code_makes_each_provider_send_again() -> None:
    sink = Sink()
    sink.error = NotConfirmed("away")
    metrics = Metrics()
    with bridge(sink, metrics) as port:
        assert call(port, "/webhooks/postmark/main")[0] == 503
        assert call(port, "/webhooks/sendgrid/main")[0] == 503
    assert metrics.total("bridge_posts_total", result="unavailable") == 2


def test_a_post_that_no_key_fits_is_refused_with_the_code_that_loses_nothing() -> None:
    sink = Sink()
    account = AccountConfig(provider="postmark", secrets=("user:right",))
    with bridge(sink, main=account, marked=AccountConfig(secrets=("user:right",), signature="off")) as port:
        assert call(port, "/webhooks/postmark/main", headers=basic("user:wrong"))[0] == 503
        assert sink.sent == []
        assert call(port, "/webhooks/postmark/main", headers=basic("user:right"))[0] == 200
        assert call(port, "/webhooks/postmark/marked", headers=basic("user:wrong"))[0] == 200
    assert len(sink.sent) == 2


@pytest.mark.parametrize(("provider", "code"), [("mailgun", 503), ("postmark", 503), ("brevo", 429), ("sendgrid", 503)])
def test_a_post_of_an_account_that_is_not_configured_comes_again_until_it_is(provider: str, code: int) -> None:
    sink, metrics = Sink(), Metrics()
    keyed = AccountConfig(provider=provider, secrets=("key",))
    theirs = AccountConfig(provider="ses", topics=("arn:aws:sns:eu-west-1:1:t",))
    keyless = AccountConfig(provider="ses")
    with bridge(sink, metrics, main=theirs, keyed=keyed, other=AccountConfig(), keyless=keyless) as port:
        for account in ("main", "invented", "default", "keyless"):
            assert call(port, f"/webhooks/{provider}/{account}")[0] == code
            assert call(port, f"/webhooks/{provider}/{account}", None, method="HEAD")[0] == 404
        assert sink.sent == []
        assert call(port, f"/webhooks/{provider}/other")[0] == 200
    assert metrics.total("bridge_posts_total", provider=provider, result="unknown") == 4


def test_a_refused_post_is_told_what_can_be_seen_of_the_reason() -> None:
    day_old = str(int(time.time()) - 100_000)
    signed = {"x-twilio-email-event-webhook-signature": "c2ln", "x-twilio-email-event-webhook-timestamp": day_old}
    accounts = {
        "main": AccountConfig(provider="sendgrid", secrets=("key",)),
        "other": AccountConfig(provider="resend", secrets=("whsec_a2V5",)),
    }
    with bridge(Sink(), **accounts) as port:
        assert b"account main is of sendgrid" in call(port, "/webhooks/resend/main")[2]
        assert b"no header x-twilio-email-event-webhook-signature" in call(port, "/webhooks/sendgrid/main")[2]
        aged = call(port, "/webhooks/sendgrid/main", headers=signed)[2]
    assert b"it was signed 28 h before it was received, and 24 h are allowed" in aged


def test_while_no_account_of_a_provider_has_keys_every_name_is_taken() -> None:
    with bridge(Sink(), main=AccountConfig(provider="ses", secrets=("user:right",)), vip=AccountConfig()) as port:
        assert [200, 200] == [call(port, f"/webhooks/postmark/{account}")[0] for account in ("vip", "invented")]


def test_an_account_that_is_not_configured_is_logged_once_and_invented_ones_fill_no_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "STRANGERS_TOLD", 2)
    keyed = AccountConfig(secrets=("user:right",))
    with structlog.testing.capture_logs() as lines, bridge(Sink(), main=keyed) as port:
        for account in ("a", "a", "b", "c", "d"):
            call(port, f"/webhooks/postmark/{account}")
    told = [line["account"] for line in lines if line["event"] == "posts refused: no such account in the settings"]
    assert told == ["a", "b"]


@pytest.mark.parametrize(("provider", "code"), [("sendgrid", 413), ("postmark", 503), ("brevo", 429)])
def test_a_body_beyond_the_limit_is_refused_without_reading_it_all(provider: str, code: int) -> None:
    sink = Sink()
    with bridge(sink) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", f"/webhooks/{provider}/main")
        connection.putheader("Content-Length", str(LIMITS.body_bytes + 1))
        connection.endheaders()
        assert connection.getresponse().status == code
        connection.close()
        chunks = (b"x" * (1 << 20) for _ in range(9))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", f"/webhooks/{provider}/main", chunks, encode_chunked=True)
            assert connection.getresponse().status == code
        except (BrokenPipeError, ConnectionResetError):
            pass  # the bridge had hung up before everything was written
        connection.close()
    assert sink.sent == []


def test_the_limit_of_a_body_is_the_installations() -> None:
    sink = Sink()
    small = structs.replace(LIMITS, body_bytes=len(BODY))
    running = Bridge(("127.0.0.1", 0), {}, sink, Metrics(), limits=small)  # type: ignore[arg-type]
    with serving(running) as port:
        assert call(port, "/webhooks/sendgrid/main", BODY)[0] == 200
        assert call(port, "/webhooks/sendgrid/main", BODY + b" ")[0] == 413
    assert len(sink.sent) == 1


@pytest.mark.parametrize("path", ["/webhooks/nobody/main", "/webhooks/postmark/a%20b", "/webhooks/postmark", "/other"])
def test_what_is_no_webhook_is_not_found(path: str) -> None:
    sink = Sink()
    with bridge(sink) as port:
        assert call(port, path)[0] == 404
    assert sink.sent == []


def test_a_question_before_the_first_post_is_answered() -> None:
    with bridge(Sink()) as port:
        assert call(port, "/webhooks/postmark/main", None, method="HEAD")[0] == 200
        assert call(port, "/webhooks/postmark/main", None, method="GET")[0] == 200
        assert call(port, "/webhooks/postmark/main", None, method="DELETE")[0] == 405


def test_it_is_ready_while_the_cluster_answers_and_alive_even_when_it_does_not() -> None:
    sink = Sink()
    with bridge(sink) as port:
        assert call(port, "/readyz", None, method="GET")[0] == 200
        sink.there = False
        assert call(port, "/readyz", None, method="GET")[::2] == (503, b"Kafka does not answer\n")
        assert call(port, "/livez", None, method="GET")[0] == 200
        assert json.loads(call(port, "/version", None, method="GET")[2])["version"]
        assert b"stagepost_bridge_posts_total" in call(port, "/metrics", None, method="GET")[2]
        assert call(port, "/config", None, method="GET")[0] == 404


def test_a_post_that_is_being_answered_when_the_bridge_ends_is_answered() -> None:
    sink = Sink()
    begun, go_on = threading.Event(), threading.Event()
    answers: list[Any] = []

    async def slowly(emit: Emit) -> None:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        sink.sent.append(emit)

    sink.send = slowly  # type: ignore[method-assign]
    running = Bridge(("127.0.0.1", 0), {}, sink, Metrics())  # type: ignore[arg-type]
    serving = threading.Thread(target=running.run)
    serving.start()
    posting = threading.Thread(target=lambda: answers.append(call(running.port, "/webhooks/postmark/main")[0]))
    posting.start()
    assert begun.wait(10)
    running.stop()
    go_on.set()
    serving.join(20)
    posting.join(20)
    assert (answers, len(sink.sent)) == ([200], 1)


def mailgun(event: str, token: str, key: str = "key") -> bytes:
    timestamp = str(int(time.time()))
    signature = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    block = {"timestamp": timestamp, "token": token, "signature": signature}
    return json.dumps({"signature": block, "event-data": {"id": event, "event": "opened"}}).encode()


def test_mailgun_is_told_to_stop_sending_what_no_key_fits() -> None:
    sink = Sink()
    with bridge(sink, main=AccountConfig(secrets=("key",))) as port:
        assert call(port, "/webhooks/mailgun/main", mailgun("e1", "t1", "other"))[0] == 406
        assert call(port, "/webhooks/mailgun/main", mailgun("e1", "t1"))[0] == 200
    assert len(sink.sent) == 1


def test_a_captured_token_signs_no_other_body_and_a_retry_of_its_own_passes() -> None:
    sink = Sink()
    with bridge(sink, main=AccountConfig(secrets=("key",))) as port:
        body = mailgun("e1", "t1")
        assert call(port, "/webhooks/mailgun/main", body)[0] == 200
        assert call(port, "/webhooks/mailgun/main", body)[0] == 200
        code, _, why = call(port, "/webhooks/mailgun/main", body.replace(b'"e1"', b'"forged"'))
        assert (code, b"its token came with another body before" in why) == (406, True)
    assert [emit.value for emit in sink.sent] == [body, body]


def test_a_captured_block_signs_nothing_beside_others_or_as_that_of_a_parent_account() -> None:
    sink = Sink()
    with bridge(sink, main=AccountConfig(secrets=("key",))) as port:
        body = mailgun("e1", "t1")
        assert call(port, "/webhooks/mailgun/main", body)[0] == 200
        captured = json.loads(body)["signature"]
        forged = {"id": "forged", "event": "complained", "recipient": "ann@example.com"}
        outer = {"timestamp": "1", "token": "invented", "signature": "00"}
        unused = json.loads(mailgun("e2", "t2"))
        for attempt in (
            {"signature": {**outer, "parent-signature": captured}, "event-data": forged},
            {"signature": {"parent-signature": captured}, "event-data": forged},
            [unused, {"signature": captured, "event-data": forged}],
        ):
            assert call(port, "/webhooks/mailgun/main", json.dumps(attempt).encode())[0] == 406
    assert [emit.value for emit in sink.sent] == [body]


def test_sns_posts_that_do_not_fit_come_again_where_no_credentials_are_wanted() -> None:
    sink = Sink()
    body = b'{"Type":"Notification","TopicArn":"arn:aws:sns:eu-west-1:1:other","Message":"{}"}'
    listed = AccountConfig(topics=(TOPIC,))
    basics = AccountConfig(secrets=("user:password",))
    with bridge(sink, listed=listed, token=AccountConfig(secrets=("header:x-tok=1",)), basics=basics) as port:
        assert [call(port, f"/webhooks/ses/{account}", body)[0] for account in ("listed", "token")] == [503, 503]
        status, headers, _ = call(port, "/webhooks/ses/basics", body)
    assert (status, headers["www-authenticate"], sink.sent) == (401, 'Basic realm="stagepost"', [])


def test_firehose_is_answered_in_json_with_the_id_of_its_request() -> None:
    sink = Sink()
    with bridge(sink) as port:
        status, headers, answer = call(port, "/webhooks/ses/main", BODY, {"X-Amz-Firehose-Request-Id": "r-1"})
        assert (status, headers["content-type"], json.loads(answer)["requestId"]) == (200, "application/json", "r-1")
        sink.error = NotConfirmed("away")
        status, _, answer = call(port, "/webhooks/ses/main", BODY, {"X-Amz-Firehose-Request-Id": "r-1"})
    assert (status, json.loads(answer)["errorMessage"]) == (503, "not confirmed, send it again")


def subscription(keys: SnsKeys, topic: str = TOPIC) -> bytes:
    return json.dumps(keys.confirmation(topic)).encode()


def test_a_subscription_of_a_listed_topic_is_confirmed_with_a_url_of_our_own_making() -> None:
    keys, sink = SnsKeys(), Sink()
    amazon = Amazon(keys.certificate)
    with bridge(sink, amazon=amazon, main=AccountConfig(topics=(TOPIC,))) as port:
        assert call(port, "/webhooks/amazon_ses/main", subscription(keys))[0] == 200
    assert amazon.confirmed == [
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
        "&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A111122223333%3Amail&Token=a+b"
    ]
    assert sink.sent == []


def test_no_subscription_is_confirmed_that_is_not_signed_or_not_listed() -> None:
    keys, sink = SnsKeys(), Sink()
    amazon = Amazon(keys.certificate)
    forged = subscription(keys).replace(b"a b", b"c d")
    other = subscription(keys, TOPIC + "2")
    with bridge(sink, amazon=amazon, main=AccountConfig(topics=(TOPIC,))) as port:
        assert [call(port, "/webhooks/ses/main", body)[0] for body in (forged, other)] == [200, 200]
    assert amazon.confirmed == []


def test_a_subscription_that_amazon_did_not_confirm_and_a_post_whose_certificate_is_away_come_again() -> None:
    keys, sink = SnsKeys(), Sink()
    amazon = Amazon(keys.certificate, confirms=False)
    with bridge(sink, amazon=amazon, main=AccountConfig(topics=(TOPIC,))) as port:
        assert call(port, "/webhooks/ses/main", subscription(keys))[0] == 503
        amazon.away = True
        assert call(port, "/webhooks/ses/main", subscription(keys))[0] == 503
    assert len(amazon.confirmed) == 1
