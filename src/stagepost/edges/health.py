"""A small HTTP server of each role: /livez /readyz /metrics /version /config.

/livez says whether the poll loop turns, and does not depend on Kafka or Redis: an outage of theirs would otherwise
restart every worker at once. /readyz says whether the role serves. GET only; no request changes anything.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stagepost import __version__
from stagepost.edges.metrics import CONTENT_TYPE
from stagepost.edges.roles import Status

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"

_READ_TIMEOUT_S = 5
"""For a client that opens a connection and says nothing."""

Answer = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """Serves in threads of its own from ``start`` to ``close``. ``port`` 0 takes a free one."""

    def __init__(
        self,
        host: str,
        port: int,
        status: Callable[[], Status],
        metrics: Callable[[], bytes],
        config: Mapping[str, object],
    ) -> None:
        """Binds the port; raises OSError when it is taken. ``config``: masked, see ``Settings.public``."""
        self._status = status
        self._metrics = metrics
        self._config = config
        self._server = ThreadingHTTPServer((host, port), _handler(self.answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> Answer:
        """Status, content type and body for a path."""
        if path == "/config":
            return HTTPStatus.OK, _JSON, json.dumps(self._config).encode()
        found = answer(path, self._status, self._metrics)
        return found or (HTTPStatus.NOT_FOUND, _TEXT, " ".join([*PATHS, "/config\n"]).encode())


PATHS = ("/livez", "/readyz", "/metrics", "/version")


def answer(path: str, status: Callable[[], Status], metrics: Callable[[], bytes]) -> Answer | None:
    """Status, content type and body for one of ``PATHS``; None for any other."""
    match path:
        case "/livez":
            return _verdict(_stalled(status(), time.monotonic()))
        case "/readyz":
            now = status()
            return _verdict(_stalled(now, time.monotonic()) + now.not_ready)
        case "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, metrics()
        case "/version":
            return HTTPStatus.OK, _JSON, json.dumps({"version": __version__}).encode()
        case _:
            return None


def _stalled(status: Status, now: float) -> tuple[str, ...]:
    """Why the poll loop does not count as turning; empty when it does."""
    age = now - status.polled_at
    return () if age < status.max_poll_s else (f"the poll loop has not turned for {age:.0f} s",)


def _verdict(reasons: tuple[str, ...]) -> Answer:
    if reasons:
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, "".join(f"{reason}\n" for reason in reasons).encode()
    return HTTPStatus.OK, _TEXT, b"ok\n"


def _handler(answer: Callable[[str], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_TIMEOUT_S
        server_version = "stagepost"
        sys_version = ""

        def do_GET(self) -> None:
            code, content_type, body = answer(self.path.partition("?")[0])
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: nothing is written."""

    return Handler
