from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stagepost.bench.peers import install
from stagepost.bench.peers.install import PEERS, Unavailable, java_peer, python_peer


def test_a_peer_without_requirements_runs_in_our_own_environment(tmp_path: Path) -> None:
    command = python_peer("redis_per_event", [])(tmp_path)
    assert command == (sys.executable, "-m", "stagepost.bench.peers.redis_per_event")


def test_a_package_that_cannot_be_installed_leaves_the_peer_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = (tmp_path / "no-such-wheel.whl").as_posix()
    with pytest.raises(Unavailable, match=r"cannot be installed: .*no-such-wheel"):
        python_peer("redis_per_event", [missing])(tmp_path)


def test_an_environment_sees_of_our_package_only_the_peers_program_and_its_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_environment", lambda requirements: Path(sys.executable))
    python, isolated, flag, code = python_peer("redis_per_event", ["anything"])(tmp_path)
    listed = code.split("runpy.run_module")[0] + "import stagepost.bench.peers as p; print(list(p.__path__))"
    told = subprocess.run([python, isolated, flag, listed], capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "stagepost" / "bench" / "peers"
    assert told.strip() == str([str(folder)])
    assert sorted(file.name for file in folder.glob("*.py")) == ["__init__.py", "redis_per_event.py", "rule.py"]


def test_without_a_compiler_kafka_streams_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="JDK"):
        java_peer(tmp_path)


def test_peers_have_names_of_their_own() -> None:
    assert [peer.name for peer in PEERS] == ["kafka-streams", "quix", "faust", "redis-per-event"]
    assert all(0 < peer.share <= 1 for peer in PEERS)
