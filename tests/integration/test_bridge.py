"""The bridge as a process, on a real broker that is stopped and started under it."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_servers import free_ports
from stagepost.edges.processes import ProcessGroup
from stagepost.testing.fixtures import MakeTopics

pytestmark = pytest.mark.slow


def test_nothing_that_was_acknowledged_is_lost_while_the_broker_is_stopped_and_started(
    breakable_kafka: LocalKafka,
    make_topics: MakeTopics,
    topic_prefix: str,
    process_group: ProcessGroup,
    tmp_path: Path,
) -> None:
    make_topics(topic_prefix, partitions=2)
    [port] = free_ports(1)
    log = tmp_path / "bridge.log"
    arguments = ["--kafka", breakable_kafka.bootstrap, "--prefix", topic_prefix, "--port", str(port)]
    bridge = process_group.start("bridge", [sys.executable, "-m", "stagepost", "bridge", *arguments], log=log)
    try:
        assert _until(lambda: _get(port, "/readyz") == 200), bridge.tail()
        sender = _Sender(port)
        sender.start()
        assert _until(lambda: len(sender.accepted) > 50)
        breakable_kafka.kill()
        assert _until(lambda: sender.later > 0), "a post was never told to come again"
        assert _get(port, "/livez") == 200
        breakable_kafka.start()
        known = len(sender.accepted)
        assert _until(lambda: len(sender.accepted) > known + 50, 60), bridge.tail()
        bridge.send(signal.SIGTERM)
        assert bridge.wait(20) == 0
        sender.finish()
    finally:
        bridge.kill()
    assert set(sender.codes) <= {200, 503}
    assert sender.accepted
    assert set(sender.accepted) <= set(_bodies(breakable_kafka.bootstrap, topic_prefix + "email.raw", 2))


class _Sender(threading.Thread):
    """Posts numbered bodies one after the other, as a provider that never gives up."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._done = threading.Event()
        self.accepted: list[str] = []
        self.codes: list[int] = []

    @property
    def later(self) -> int:
        return self.codes.count(503)

    def run(self) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            body = json.dumps({"RecordType": "Delivery", "MessageID": f"m-{number}"})
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            try:
                connection.request("POST", "/webhooks/postmark/main", body)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return  # the bridge has ended
            finally:
                connection.close()
            self.codes.append(status)
            if status == 200:
                self.accepted.append(body)

    def finish(self) -> None:
        self._done.set()
        self.join(30)


def _until(happened: Callable[[], bool], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.05)
    return False


def _get(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _bodies(bootstrap: str, topic: str, partitions: int) -> Sequence[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bodies", "enable.partition.eof": True})
    found, ended = [], 0
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        while ended < partitions:
            message = consumer.poll(10)
            assert message is not None, "the broker does not answer"
            if message.error() is not None:
                ended += 1
                continue
            found.append((message.value() or b"").decode())
    finally:
        consumer.close()
    return found
