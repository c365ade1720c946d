"""``stagepost run``: what is refused before anything starts. Running roles is tested on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagepost.cli.app import run
from stagepost.cli.run import ROLES
from stagepost.edges.errors import Stop
from stagepost.edges.roles import PORTS
from stagepost.settings import AccountSettings, Settings, SettingsError
from stagepost.wiring import account_configs


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


@pytest.mark.parametrize("role", ["journey", "all"])
def test_a_broken_journey_file_is_told_before_kafka_is_asked(
    role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_arguments: object) -> None:
        raise AssertionError("Kafka was asked first")

    monkeypatch.setenv("STAGEPOST_IDENTITY__TENANT_KEY", "0123456789abcdef")
    monkeypatch.setattr("stagepost.edges.logs.configure", lambda *_, **__: None)
    monkeypatch.setattr("stagepost.wiring.await_cluster", asked)
    (tmp_path / "journeys").mkdir()
    (tmp_path / "journeys" / "b.yaml").write_text("journey: b\nstages:\n  - one: {clicked: pricng}\n")
    assert 2 == run(["run", role, "--port", "0"])
    assert "stagepost: journeys/b.yaml:3:20: SP201 'pricng' is no link\n" in capsys.readouterr().err


@pytest.mark.parametrize(("asked_to_end", "code"), [(True, 0), (False, 1)])
def test_a_role_may_be_asked_to_end_while_it_waits_for_its_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked_to_end: bool, code: int
) -> None:
    def no_broker(*_arguments: object) -> None:
        if asked_to_end:
            os.kill(os.getpid(), signal.SIGTERM)
        raise Stop("no broker answers")

    monkeypatch.setenv("STAGEPOST_IDENTITY__TENANT_KEY", "0123456789abcdef")
    monkeypatch.setattr("stagepost.edges.logs.configure", lambda *_, **__: None)
    monkeypatch.setattr("stagepost.wiring.await_cluster", lambda *_: True)
    monkeypatch.setattr("stagepost.wiring.build_role", no_broker)
    (tmp_path / "journeys").mkdir()
    assert code == run(["run", "journey", "--port", "0"])


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``stagepost WORDS`` in a process of its own, without a Kafka."""
    processes: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
    environment["STAGEPOST_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    environment["STAGEPOST_IDENTITY__TENANT_KEY"] = "0123456789abcdef"

    def start(*words: str) -> subprocess.Popen[str]:
        (tmp_path / "journeys").mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "stagepost", *words],
            env=environment,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def catches_sigterm(process: subprocess.Popen[str]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="which signals a process catches is read in /proc")
@pytest.mark.parametrize("later_s", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_a_role_that_is_asked_to_end_at_any_moment_of_its_start_ends_with_0(
    started: Callable[..., subprocess.Popen[str]], later_s: float
) -> None:
    process = started("run", "journey", "--port", "0")
    deadline = time.monotonic() + 30
    while not catches_sigterm(process):
        assert time.monotonic() < deadline
    time.sleep(later_s)
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told


@pytest.mark.parametrize("role", ["journey", "normalise", "all"])
def test_without_kafka_a_role_waits_and_says_so_once(started: Callable[..., subprocess.Popen[str]], role: str) -> None:
    process = started("run", role, "--port", "0", "--json")
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "waiting for Kafka" in line:
            break
    time.sleep(4)
    assert process.poll() is None
    process.terminate()
    lines += process.stderr.readlines()
    assert process.wait(30) == 0
    [told] = [json.loads(line) for line in lines if "Kafka at 127.0.0.1:1" in line]
    assert (told["event"], told["level"]) == ("waiting for Kafka", "warning")
    assert "setting kafka.bootstrap_servers" in told["reason"]
    assert [line for line in lines if "a role ended" in line] == []


def test_a_role_that_waits_for_kafka_is_alive_and_not_ready(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    process = started("run", "journey", "--port", "0", "--json")
    assert process.stderr is not None
    port = next(line.rsplit(":", 1)[1].strip() for line in process.stderr if "health on" in line)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
    assert refused.value.read() == b"Kafka does not answer yet\n"


def test_a_secret_that_fits_no_post_ends_the_start_and_is_not_shown() -> None:
    account = AccountSettings.model_validate({"provider": "sendgrid", "secrets": ["hush, no key"]})
    with pytest.raises(SettingsError, match=r"accounts\.main\.secrets: one is no public key") as error:
        account_configs(Settings(accounts={"main": account}))
    assert "hush" not in str(error.value)
