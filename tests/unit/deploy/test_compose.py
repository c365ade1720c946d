"""docker-compose.yml, checked as far as that goes without a Docker engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
ROLES = ["normalise", "journey", "rollup", "notify"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return dict(loaded["services"])


def test_kafka_redis_topics_and_every_role_are_there(services: dict[str, Any]) -> None:
    assert sorted(services) == sorted(["kafka", "redis", "topics", *ROLES, "bridge"])


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_long_running_service_has_a_health_check_and_a_memory_limit(services: dict[str, Any]) -> None:
    lasting = {name: service for name, service in services.items() if name != "topics"}
    assert [name for name, service in lasting.items() if "healthcheck" not in service] == []
    assert [name for name, service in services.items() if "mem_limit" not in service] == []


def test_roles_wait_for_healthy_servers_and_made_topics(services: dict[str, Any]) -> None:
    wanted = {
        "kafka": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }
    assert {role: services[role]["depends_on"] for role in ROLES} == dict.fromkeys(ROLES, wanted)


def test_each_role_runs_itself_and_is_asked_on_its_own_port(services: dict[str, Any]) -> None:
    for role, port in zip(ROLES, (8081, 8082, 8083, 8084), strict=True):
        assert services[role]["command"][:2] == ["run", role]
        assert services[role]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert f"127.0.0.1:{port}/readyz" in services[role]["healthcheck"]["test"][-1]


def test_the_bridge_is_there_for_whoever_asks_for_it(services: dict[str, Any]) -> None:
    bridge = services["bridge"]
    assert (bridge["profiles"], bridge["command"][0]) == (["bridge"], "bridge")
    assert bridge["ports"] == ["127.0.0.1:8085:8085"]
    assert "127.0.0.1:8085/readyz" in bridge["healthcheck"]["test"][-1]


def test_the_file_follows_the_compose_specification() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, str(ROOT / "docker-compose.yml")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "ok -- validation done")
