from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from stagepost.edges.bridge import Bridge
from stagepost.edges.confirmed import NotConfirmed
from stagepost.edges.metrics import Metrics
from stagepost.engine.plan import Emit, Topic
from stagepost.normalise import AccountConfig
from stagepost.normalise.bodies import BODY_LIMIT

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


@contextmanager
def bridge(sink: Sink, metrics: Metrics | None = None, **accounts: AccountConfig) -> Iterator[int]:
    running = Bridge(("127.0.0.1", 0), accounts, sink, metrics or Metrics())  # type: ignore[arg-type]
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


def test_a_body_beyond_the_limit_is_refused_without_reading_it_all() -> None:
    sink = Sink()
    with bridge(sink) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.putrequest("POST", "/webhooks/postmark/main")
        connection.putheader("Content-Length", str(BODY_LIMIT + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
        chunks = (b"x" * (1 << 20) for _ in range(9))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", "/webhooks/postmark/main", chunks, encode_chunked=True)
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass  # the bridge had hung up before everything was written
        connection.close()
    assert sink.sent == []


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
