"""The health server over real HTTP."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from stagepost import __version__
from stagepost.edges.health import HealthServer
from stagepost.edges.metrics import Metrics
from stagepost.edges.roles import Status


class Served:
    """A server whose role can be put into any state."""

    def __init__(self) -> None:
        self.status = Status(polled_at=time.monotonic(), max_poll_s=60)
        self.metrics = Metrics()
        self.server = HealthServer("127.0.0.1", 0, lambda: self.status, self.metrics.render, {"prefix": "a."})
        self.server.start()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def test_a_role_that_polls_and_serves_is_live_and_ready(served: Served) -> None:
    assert (200, "ok\n") == served.get("/livez")
    assert (200, "ok\n") == served.get("/readyz")


def test_a_role_that_waits_for_redis_is_live_and_not_ready_with_the_reasons(served: Served) -> None:
    served.status = Status(time.monotonic(), 60, ("Redis does not answer", "restoring 2 of 12 partitions"))
    assert served.get("/livez")[0] == 200
    assert (503, "Redis does not answer\nrestoring 2 of 12 partitions\n") == served.get("/readyz")


def test_a_poll_loop_that_stands_still_is_neither_live_nor_ready(served: Served) -> None:
    served.status = Status(time.monotonic() - 61, 60)
    assert (503, "the poll loop has not turned for 61 s\n") == served.get("/livez")
    assert served.get("/readyz")[0] == 503


def test_metrics_version_and_masked_settings_are_served(served: Served) -> None:
    served.metrics.count("rebalances_total")
    assert "stagepost_rebalances_total 1.0" in served.get("/metrics")[1]
    assert {"version": __version__} == json.loads(served.get("/version")[1])
    assert {"prefix": "a."} == json.loads(served.get("/config?x=1")[1])


def test_other_paths_are_answered_with_those_there_are(served: Served) -> None:
    assert (404, "/livez /readyz /metrics /version /config\n") == served.get("/")


def test_only_get_is_allowed(served: Served) -> None:
    assert [501, 501, 501] == [served.get("/livez", method)[0] for method in ("POST", "PUT", "DELETE")]


def test_a_taken_port_is_an_error_at_once(served: Served) -> None:
    with pytest.raises(OSError, match="in use"):
        HealthServer("127.0.0.1", served.server.port, lambda: served.status, served.metrics.render, {})
