"""Receivers of notifications as real HTTP servers, and alert records to send them: for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """One POST that arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return str(self.json()["idempotency_key"])


@dataclass
class Listener:
    """Answers every POST with ``status`` and ``headers`` after ``delay_s``, and remembers it."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0
    requests: list[Request] = field(default_factory=list)

    def keys(self) -> list[str]:
        return [request.key for request in self.requests]


@contextmanager
def listening(listener: Listener, port: int = 0) -> Iterator[Listener]:
    """The listener's server, while inside."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            listener.requests.append(Request(self.path, headers, body))
            time.sleep(listener.delay_s)
            self.send_response(listener.status)
            for name, value in listener.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(listener.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """The sender did not wait for the answer: that is what some tests are about."""

    server = Server(("127.0.0.1", port), Handler)
    listener.url = f"http://127.0.0.1:{server.server_address[1]}/alerts"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def alert_fields(
    incident_id: str = "8f3a-2026-05-04T09:35Z", rev: int = 1, status: str = "firing", **changes: Any
) -> dict[str, Any]:
    """The record of alerts.md 6, with changes."""
    return {
        "schema": "stagepost.alert/1",
        "fingerprint": incident_id.split("-")[0],
        "incident_id": incident_id,
        "rev": rev,
        "status": status,
        "reason": "escalated",
        "severity": "warning",
        "metric": "complaint",
        "rule": "spike",
        "scope": {"type": "campaign", "id": "c-123", "domain": "m.example.com", "list": "l-9", "account": "default"},
        "summary": "Complaints 5.5x expected on c-123: 36 vs 6.6 in 4 h",
        "started_at": "2026-05-04T08:00:00Z",
        "fired_at": "2026-05-04T09:35:00Z",
        "evaluated_to": "2026-05-04T10:00:00Z",
        "ends_at": None,
        "evidence": {"window": "4h", "events": 36, "expected": 6.6, "ratio": 5.5, "excess": 29.4, "delivered": 41000},
        "links": {"view": "https://stagepost.example/alerts", "runbook": None},
        "labels": {"team": "crm"},
        **changes,
    }


def alert_record(*args: Any, **changes: Any) -> bytes:
    """JSON of ``alert_fields``."""
    return json.dumps(alert_fields(*args, **changes)).encode()
