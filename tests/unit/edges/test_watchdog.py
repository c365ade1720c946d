from __future__ import annotations

import threading

import pytest

from stagepost.edges import watchdog as module
from stagepost.edges.watchdog import Watchdog


def test_a_call_that_hangs_is_told_and_one_that_returns_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    expired: list[str] = []
    told = threading.Event()

    def expire(what: str) -> None:
        expired.append(what)
        told.set()

    watchdog = Watchdog(expire)
    with watchdog.limit(60, "in time"):
        assert not told.wait(0.05)
    assert not told.wait(0.05)
    with watchdog.limit(0, "too late"):
        assert told.wait(5)
    watchdog.close()
    assert expired == ["too late"]


def test_closing_one_that_never_watched_is_fine() -> None:
    Watchdog(lambda what: None).close()
