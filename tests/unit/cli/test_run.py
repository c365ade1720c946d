"""``stagepost run``: what is refused before anything starts. Running roles is tested on real servers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stagepost.cli.app import run
from stagepost.cli.run import ROLES
from stagepost.edges.errors import Stop
from stagepost.edges.roles import PORTS


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_role_has_a_port_of_its_own() -> None:
    assert {"normalise": 8081, "journey": 8082, "rollup": 8083, "notify": 8084} == dict(PORTS)


def test_an_unknown_role_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["run", "journeys"])
    assert "'journeys' is none of normalise, journey, rollup, notify, all" in capsys.readouterr().err


@pytest.mark.parametrize("role", [*ROLES, "all"])
def test_no_worker_starts_without_a_tenant_key(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["run", role])
    assert "identity.tenant_key is not set" in capsys.readouterr().err


def test_a_start_that_is_no_time_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEPOST_IDENTITY__TENANT_KEY", "0123456789abcdef")
    assert 2 == run(["run", "journey", "--from", "yesterday"])
    assert "'yesterday' is neither earliest nor latest nor an RFC 3339 time" in capsys.readouterr().err


@pytest.mark.parametrize(("asked_to_end", "code"), [(True, 0), (False, 1)])
def test_a_role_may_be_asked_to_end_while_it_waits_for_its_broker(
    monkeypatch: pytest.MonkeyPatch, asked_to_end: bool, code: int
) -> None:
    def no_broker(*_arguments: object) -> None:
        if asked_to_end:
            os.kill(os.getpid(), signal.SIGTERM)
        raise Stop("no broker answers")

    monkeypatch.setenv("STAGEPOST_IDENTITY__TENANT_KEY", "0123456789abcdef")
    monkeypatch.setattr("stagepost.edges.logs.configure", lambda *_, **__: None)
    monkeypatch.setattr("stagepost.wiring.build_role", no_broker)
    assert code == run(["run", "journey"])
