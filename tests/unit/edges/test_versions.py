from __future__ import annotations

import pytest

from stagepost.edges.errors import Outdated
from stagepost.edges.mirror import too_old
from stagepost.edges.versions import require_librdkafka


def test_the_client_library_that_is_installed_will_do() -> None:
    require_librdkafka()


@pytest.mark.parametrize("number", [0x021000FF, 0x021001FF, 0x02FF00FF, 0x030000FF])
def test_librdkafka_from_2_16_on_will_do(number: int) -> None:
    require_librdkafka(number)


@pytest.mark.parametrize(("number", "found"), [(0x020F00FF, "2.15"), (0x01FF00FF, "1.255")])
def test_an_older_one_ends_the_process_with_what_to_install(number: int, found: str) -> None:
    with pytest.raises(Outdated, match=rf"librdkafka {found} is too old: .* install confluent-kafka>=2\.16"):
        require_librdkafka(number)


@pytest.mark.parametrize(
    ("server", "version"),
    [("redis", "6.2.0"), ("redis", "7.0.1"), ("redis", "10.0"), ("valkey", "7.2.5"), ("fakeredis", "2.40"), ("x", "?")],
)
def test_a_server_that_will_do(server: str, version: str) -> None:
    assert too_old(server, version) is None


@pytest.mark.parametrize(("server", "version"), [("redis", "6.0.20"), ("redis", "5.0.14"), ("valkey", "7.1.0")])
def test_an_older_server_is_named_with_what_is_needed(server: str, version: str) -> None:
    why = too_old(server, version)
    assert why is not None
    assert why.startswith(f"this is {server} {version}; stagepost needs Redis 6.2")
