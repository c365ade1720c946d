"""The cache of SNS certificates, and one fetch against a real HTTP server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from stagepost.edges.sns import ABSENT_S, KEPT, SIZE_LIMIT, Certificates, CertificateUnavailable, fetch_pem

URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem"


class Amazon:
    """Answers of a server, in order, and a clock that only pauses move."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.paused: list[float] = []
        self.now = 100.0
        self.certificates = Certificates(self.fetch, lambda: self.now, self.pause)

    def fetch(self, url: str) -> str | None:
        self.asked.append(url)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        self.now += seconds


def test_a_certificate_is_fetched_once() -> None:
    amazon = Amazon("PEM")
    assert [amazon.certificates.pem(URL.format(1)) for _ in range(3)] == ["PEM"] * 3
    assert amazon.asked == [URL.format(1)]


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://evil.example/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
        "https://sns.eu-west-1.amazonaws.com/other.pem",
        "file:///etc/passwd",
    ],
)
def test_no_other_host_is_asked(url: str) -> None:
    amazon = Amazon("PEM")
    assert (amazon.certificates.pem(url), amazon.asked) == (None, [])


def test_what_is_not_there_is_asked_for_again_after_a_while() -> None:
    amazon = Amazon(None, "PEM")
    assert amazon.certificates.pem(URL.format(1)) is None
    assert amazon.certificates.pem(URL.format(1)) is None
    amazon.now += ABSENT_S
    assert amazon.certificates.pem(URL.format(1)) == "PEM"
    assert len(amazon.asked) == 2


def test_a_failure_is_raised_and_the_next_attempt_waits_a_second() -> None:
    amazon = Amazon(CertificateUnavailable("down"), CertificateUnavailable("down"), "PEM")
    for _ in range(2):
        with pytest.raises(CertificateUnavailable):
            amazon.certificates.pem(URL.format(1))
    assert amazon.certificates.pem(URL.format(1)) == "PEM"
    assert amazon.paused == [1.0, 1.0]
    assert amazon.certificates.pem(URL.format(2)) == "PEM"
    assert amazon.paused == [1.0, 1.0]


def test_the_least_used_certificate_is_forgotten_first() -> None:
    amazon = Amazon("PEM")
    for number in range(KEPT):
        amazon.certificates.pem(URL.format(number))
    amazon.certificates.pem(URL.format(0))
    amazon.certificates.pem(URL.format(KEPT))
    asked = len(amazon.asked)
    amazon.certificates.pem(URL.format(0))
    assert len(amazon.asked) == asked
    amazon.certificates.pem(URL.format(1))
    assert len(amazon.asked) == asked + 1


@contextmanager
def serving(status: int, body: bytes = b"", delay_s: float = 0.0, **headers: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(delay_s)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Who asked did not wait for the answer: that is what one test is about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/certificate.pem"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2026, 1, 1), datetime(2027, 1, 1))  # noqa: DTZ001
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_a_certificate_is_read_from_its_server() -> None:
    pem = certificate()
    with serving(200, pem) as url:
        assert fetch_pem(url) == pem.decode()


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 410])
def test_a_server_that_says_no_or_elsewhere_has_none(status: int) -> None:
    with serving(200, certificate()) as elsewhere, serving(status, b"gone", location=elsewhere) as url:
        assert fetch_pem(url) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (503, b""), (429, b""), (408, b""), (200, b"<html>"), (200, b""), (200, b"x" * (SIZE_LIMIT + 1))],
)
def test_anything_else_is_a_reason_to_try_later(status: int, body: bytes) -> None:
    with serving(status, body) as url, pytest.raises(CertificateUnavailable):
        fetch_pem(url)


def test_a_server_that_is_slow_or_not_there_is_a_reason_to_try_later() -> None:
    with serving(200, certificate(), delay_s=2.0) as url, pytest.raises(CertificateUnavailable):
        fetch_pem(url, within_s=0.1)
    with pytest.raises(CertificateUnavailable):
        fetch_pem(url)
