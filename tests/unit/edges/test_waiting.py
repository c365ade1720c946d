from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from stagepost.edges.embedded_kafka import EmbeddedKafka
from stagepost.edges.errors import Stop
from stagepost.edges.waiting import await_kafka


@pytest.fixture
def plain_server() -> Iterator[str]:
    """Answers every connection with a line that is no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_that_answers_is_not_waited_for() -> None:
    broker = EmbeddedKafka()
    assert await_kafka({"bootstrap.servers": broker.bootstrap}, lambda: False, "test")
    broker.close()


def test_who_is_asked_to_end_waits_no_longer() -> None:
    asked = iter([False, False, True, True])
    assert not await_kafka({"bootstrap.servers": "127.0.0.1:1"}, lambda: next(asked), "test")


def test_what_only_a_person_can_mend_ends_the_waiting(plain_server: str) -> None:
    settings = {"bootstrap.servers": plain_server, "security.protocol": "ssl"}
    with pytest.raises(Stop, match=r"Kafka at 127\.0\.0\.1:.*_SSL"):
        await_kafka(settings, lambda: False, "test")
