"""``stagepost run``: what is refused before anything starts. Running roles is tested on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagepost.cli.app import run
from stagepost.cli.run import ROLES
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
