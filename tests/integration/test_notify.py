"""The role ``notify`` as a process of its own, on a real broker and a real Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from tests.integration.roles import Installation, Worker, wait_for
from tests.listeners import Listener, alert_record, listening

from stagepost.edges.embedded_kafka import EmbeddedKafka
from stagepost.edges.keys import SentKeys
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis
from stagepost.edges.local_servers import free_ports
from stagepost.testing.fixtures import MakeTopics
from stagepost.testing.servers import KafkaServer

A, B, C = "aaaa-2026-05-04T09:35Z", "bbbb-2026-05-04T09:35Z", "cccc-2026-05-04T09:35Z"

SETTLED_S = 1.2
"""Longer than group wait and ticks together: what has not been sent by now is not going to be."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def installation(
    kafka: KafkaServer, redis_url: str, topic_prefix: str, make_topics: MakeTopics, tmp_path: Path
) -> Installation:
    make_topics(topic_prefix, partitions=2)
    return Installation(kafka.bootstrap, redis_url, topic_prefix, tmp_path, tmp_path)


def started(stack: ExitStack, installation: Installation, *receivers: dict[str, str]) -> Worker:
    installation.settings = {
        **installation.settings,
        "STAGEPOST_NOTIFY__GROUP_WAIT": "0.3",
        "STAGEPOST_NOTIFY__RECEIVERS": json.dumps(receivers),
    }
    worker = installation.start("notify")
    stack.callback(worker.kill)
    worker.wait_ready()
    return worker


def webhook(listener: Listener) -> dict[str, str]:
    return {"url": listener.url, "type": "webhook"}


def keys_of(listener: Listener, incident_id: str) -> list[str]:
    """Of one incident; several go out in any order."""
    return [request.key for request in listener.requests if request.key.startswith(incident_id)]


def publish(installation: Installation, *values: bytes) -> None:
    """As ``rollup`` does: the key is the fingerprint."""
    installation.produce("email.alerts", [(json.loads(value)["fingerprint"], value, []) for value in values])


def test_each_revision_arrives_once(installation: Installation, stack: ExitStack) -> None:
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    for value in (alert_record(A, 1), alert_record(A, 2), alert_record(A, 3, "resolved")):
        before = len(listener.requests)
        publish(installation, value, value)
        wait_for(lambda before=before: len(listener.requests) > before, 20, "a revision arrives", worker.log)
    time.sleep(SETTLED_S)
    assert [f"{A}:1", f"{A}:2", f"{A}:3"] == listener.keys()


def test_what_fires_and_ends_within_the_group_wait_is_told_in_order(
    installation: Installation, stack: ExitStack
) -> None:
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    publish(installation, alert_record(A, 1), alert_record(A, 2), alert_record(A, 3, "resolved"))
    wait_for(lambda: len(listener.requests) == 3, 20, "all revisions arrive", worker.log)
    time.sleep(SETTLED_S)
    assert [f"{A}:1", f"{A}:2", f"{A}:3"] == listener.keys()


def test_what_fired_and_ended_before_it_was_started_is_told_once(installation: Installation, stack: ExitStack) -> None:
    publish(installation, alert_record(A, 1), alert_record(A, 2, "resolved"), alert_record(B, 1))
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    wait_for(lambda: len(listener.requests) == 3, 20, "all revisions arrive", worker.log)
    time.sleep(SETTLED_S)  # the commit, and the record in Redis
    worker.kill()
    publish(installation, alert_record(B, 2), alert_record(B, 3, "resolved"))
    worker = started(stack, installation, webhook(listener))
    wait_for(lambda: len(listener.requests) == 5, 20, "what came while it was away", worker.log)
    time.sleep(SETTLED_S)
    assert [f"{A}:1", f"{A}:2"] == keys_of(listener, A)
    assert [f"{B}:1", f"{B}:2", f"{B}:3"] == keys_of(listener, B)


def test_a_slow_or_failing_receiver_holds_up_no_other(installation: Installation, stack: ExitStack) -> None:
    slow = stack.enter_context(listening(Listener(delay_s=20)))
    failing = stack.enter_context(listening(Listener(status=500)))
    quick = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, *map(webhook, (slow, failing, quick)))
    publish(installation, alert_record(A), alert_record(B), alert_record(C))
    wait_for(lambda: len(quick.requests) == 3, 5, "the quick one has all", worker.log)
    assert 1 == len(slow.requests)
    assert 0 < worker.total("stagepost_notifications_total", 'result="failed"')
    assert 0 == worker.stop(timeout_s=10)


def test_a_receiver_that_was_down_gets_all_revisions_in_order(installation: Installation, stack: ExitStack) -> None:
    [port] = free_ports(1)
    down = Listener(url=f"http://127.0.0.1:{port}/alerts")
    worker = started(stack, installation, webhook(down))
    publish(installation, alert_record(A, 1))
    wait_for(lambda: worker.total("stagepost_notifications_total", 'result="failed"') > 0, 10, "an attempt", worker.log)
    publish(installation, alert_record(A, 2), alert_record(A, 3, "resolved"))
    time.sleep(SETTLED_S)
    stack.enter_context(listening(down, port))
    wait_for(lambda: len(down.requests) == 3, 20, "it is told", worker.log)
    time.sleep(SETTLED_S)
    worker.kill()
    worker = started(stack, installation, webhook(down))
    time.sleep(SETTLED_S)
    assert [f"{A}:1", f"{A}:2", f"{A}:3"] == down.keys()


def test_after_kill_9_nothing_is_repeated_and_what_waited_is_sent(installation: Installation, stack: ExitStack) -> None:
    told = stack.enter_context(listening(Listener()))
    [port] = free_ports(1)
    down = Listener(url=f"http://127.0.0.1:{port}/alerts")
    worker = started(stack, installation, webhook(told), webhook(down))
    publish(installation, alert_record(A, 1), alert_record(B, 1))
    wait_for(lambda: len(told.requests) == 2, 20, "one receiver is told", worker.log)
    time.sleep(SETTLED_S)  # the commit, and the record in Redis
    worker.kill()
    publish(installation, alert_record(A, 2, "resolved"))
    stack.enter_context(listening(down, port))
    worker = started(stack, installation, webhook(told), webhook(down))
    wait_for(lambda: len(down.requests) == 3 and len(told.requests) == 3, 20, "the rest is sent", worker.log)
    time.sleep(SETTLED_S)
    assert [f"{A}:1", f"{B}:1", f"{A}:2"] == [*sorted(told.keys()[:2]), *told.keys()[2:]]
    assert [f"{A}:1", f"{A}:2"] == keys_of(down, A)
    assert [f"{B}:1"] == keys_of(down, B)


def test_when_redis_loses_its_data_each_live_incident_is_announced_once_more(
    installation: Installation, stack: ExitStack
) -> None:
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    publish(installation, alert_record(A, 1), alert_record(B, 1))
    wait_for(lambda: len(listener.requests) == 2, 20, "both are announced", worker.log)
    publish(installation, alert_record(A, 2, "resolved"), alert_record(B, 2))
    wait_for(lambda: len(listener.requests) == 4, 20, "one is resolved", worker.log)
    time.sleep(SETTLED_S)
    with redis.Redis.from_url(installation.redis_url) as client:
        client.flushdb()
        wait_for(lambda: len(listener.requests) == 5, 20, "the live one is announced again", worker.log)
        time.sleep(SETTLED_S)
        worker.kill()
        client.flushdb()
    worker = started(stack, installation, webhook(listener))
    wait_for(lambda: len(listener.requests) == 6, 20, "and again", worker.log)
    time.sleep(SETTLED_S)
    worker.kill()
    worker = started(stack, installation, webhook(listener))
    publish(installation, alert_record(B, 3, "resolved"))
    wait_for(lambda: len(listener.requests) == 7, 20, "and its end", worker.log)
    time.sleep(SETTLED_S)
    assert [f"{B}:2", f"{B}:2", f"{B}:3"] == listener.keys()[4:]


def test_without_redis_alerts_go_out_and_are_recorded_when_it_is_back(
    installation: Installation, stack: ExitStack, breakable_redis: LocalRedis
) -> None:
    installation.redis_url = breakable_redis.url
    stack.callback(breakable_redis.start)
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    breakable_redis.kill()
    publish(installation, alert_record(A, 1))
    wait_for(lambda: len(listener.requests) == 1, 20, "it is announced", worker.log)
    wait_for(lambda: not worker.ready(), 10, "the role says that Redis is away", worker.log)
    breakable_redis.start()
    wait_for(worker.ready, 10, "Redis is back", worker.log)
    with redis.Redis.from_url(breakable_redis.url) as client:
        [hash_] = client.scan_iter(SentKeys.of(installation.prefix).sent("*"))
        assert [A.encode()] == client.hkeys(hash_)
    assert [f"{A}:1"] == listener.keys()


def test_what_cannot_be_read_goes_to_the_dead_letters_byte_for_byte(
    installation: Installation, stack: ExitStack
) -> None:
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    cut = alert_record(A)[:-20] + b"\xff"
    headers = [("trace", b"\x00\x01"), ("trace", b"again"), ("empty", b"")]
    installation.produce("email.alerts", [(b"\x00key", cut, headers), (b"gone", None, [])])
    publish(installation, alert_record(B))
    wait_for(lambda: len(listener.requests) == 1, 20, "the neighbour is announced", worker.log)
    wait_for(lambda: worker.total("stagepost_events_dead_lettered_total") == 2, 20, "dead letters", worker.log)
    letters = {letter.key: letter for letter in installation.read("email.alerts.dlq")}
    assert {b"\x00key", b"gone"} == letters.keys()
    letter = letters[b"\x00key"]
    assert (cut, tuple(headers)) == (letter.value, letter.header_list[:3])
    source = next(read for read in installation.read("email.alerts") if read.key == b"\x00key")
    assert {
        "__dlq.errors.topic": installation.topic("email.alerts"),
        "__dlq.errors.partition": str(source.partition),
        "__dlq.errors.offset": str(source.offset),
        "__dlq.errors.group": installation.prefix + "stagepost.notify",
        "__dlq.errors.delivery.count": "1",
        "stagepost-reason": "undecodable",
    }.items() <= {name: value.decode() for name, value in letter.header_list[3:]}.items()
    assert {"__dlq.errors.message", "stagepost-detail"} <= letter.headers.keys()
    assert letters[b"gone"].value is None


def test_without_receivers_a_line_in_the_log_tells_it(installation: Installation, stack: ExitStack) -> None:
    worker = started(stack, installation)
    publish(installation, alert_record(A))
    wait_for(lambda: "Complaints 5.5x expected" in worker.tail(), 10, "a line in the log", worker.log)
    [line] = [json.loads(line) for line in worker.tail().splitlines() if "Complaints" in line]
    assert {"incident_id": A, "rev": 1, "status": "firing", "severity": "warning"}.items() <= line.items()
    assert 1 == worker.total("stagepost_notifications_total", 'channel="log",result="sent"')
    wait_for(
        lambda: worker.total("stagepost_consumer_lag_records") == 0, 10, "the lag is exported, and is none", worker.log
    )
    assert 2 == worker.total("stagepost_assigned_partitions")
    assert 0 == worker.stop(timeout_s=10)


def test_a_child_that_fires_with_its_parent_is_held_back(installation: Installation, stack: ExitStack) -> None:
    listener = stack.enter_context(listening(Listener()))
    worker = started(stack, installation, webhook(listener))
    account = {"type": "account", "id": "default"}
    parent = alert_record(B, scope=account, evidence={"excess": 500.0})
    publish(installation, alert_record(A), parent)
    wait_for(lambda: len(listener.requests) > 0, 20, "the parent is announced", worker.log)
    time.sleep(SETTLED_S)
    [told] = [request.json() for request in listener.requests]
    assert (f"{B}:1", 1, [A]) == (
        told["idempotency_key"],
        told["inhibited"],
        [child["incident_id"] for child in told["top_children"]],
    )
    publish(installation, alert_record(B, 2, "resolved", scope=account))
    wait_for(lambda: len(listener.requests) == 3, 20, "the child goes on alone", worker.log)
    assert {f"{B}:2", f"{A}:1"} == set(listener.keys()[1:])


def test_what_is_held_back_while_its_receiver_is_down_is_told_when_nothing_holds_it_back(
    installation: Installation, stack: ExitStack
) -> None:
    [port] = free_ports(1)
    down = Listener(url=f"http://127.0.0.1:{port}/alerts")
    worker = started(stack, installation, webhook(down))
    account = {"type": "account", "id": "default"}
    publish(installation, alert_record(A, 1))
    wait_for(lambda: worker.total("stagepost_notifications_total", 'result="failed"') > 0, 10, "an attempt", worker.log)
    publish(installation, alert_record(B, 1, scope=account, evidence={"excess": 500.0}))
    time.sleep(SETTLED_S)
    stack.enter_context(listening(down, port))
    wait_for(lambda: down.keys() == [f"{B}:1"], 20, "the parent is announced", worker.log)
    time.sleep(SETTLED_S)
    publish(installation, alert_record(B, 2, "resolved", scope=account))
    wait_for(lambda: len(down.requests) == 3, 20, "the child is told", worker.log)
    assert ([f"{A}:1"], [f"{B}:1", f"{B}:2"]) == (keys_of(down, A), keys_of(down, B))


def test_two_workers_share_the_partitions_and_repeat_nothing(installation: Installation, stack: ExitStack) -> None:
    listener = stack.enter_context(listening(Listener()))
    workers = [started(stack, installation, webhook(listener)) for _ in range(2)]
    incidents = [f"{number:04x}-2026-05-04T09:35Z" for number in range(12)]
    publish(installation, *(alert_record(incident) for incident in incidents))
    wait_for(lambda: len(listener.requests) >= 12, 20, "all are announced", workers[0].log)
    assert 0 == workers[0].stop(timeout_s=10)
    wait_for(lambda: workers[1].total("stagepost_assigned_partitions") == 2, 20, "one has all", workers[1].log)
    time.sleep(SETTLED_S)
    assert sorted(f"{incident}:1" for incident in incidents) == sorted(listener.keys())


def test_missing_topics_are_named_with_the_command_that_makes_them(
    kafka: KafkaServer, redis_url: str, tmp_path: Path
) -> None:
    run = Installation(kafka.bootstrap, redis_url, "none.", tmp_path, tmp_path).cli("run", "notify", "--port", "0")
    assert 1 == run.returncode
    assert b"none.email.alerts, none.email.alerts.dlq" in run.stderr
    assert b"stagepost topics create" in run.stderr


def test_it_runs_on_the_embedded_broker(redis_url: str, tmp_path: Path, stack: ExitStack) -> None:
    broker = EmbeddedKafka()
    stack.callback(broker.close)
    broker.touch(["email.alerts", "email.alerts.dlq"])
    listener = stack.enter_context(listening(Listener()))
    # A join takes this broker three seconds: longer than the session of the other tests.
    settings = {"STAGEPOST_KAFKA__LIBRDKAFKA": "{}"}
    installation = Installation(broker.bootstrap, redis_url, "", tmp_path, tmp_path, settings)
    worker = started(stack, installation, webhook(listener))
    publish(installation, alert_record(A))
    wait_for(lambda: len(listener.requests) == 1, 20, "it is announced", worker.log)
    assert 0 == worker.stop(timeout_s=10)


def test_sigterm_ends_it_in_time_while_the_broker_is_away(
    installation: Installation, stack: ExitStack, breakable_kafka: LocalKafka
) -> None:
    assert installation.bootstrap == breakable_kafka.bootstrap
    worker = started(stack, installation)
    stack.callback(breakable_kafka.start)
    breakable_kafka.kill()
    time.sleep(1)
    assert 0 == worker.stop(timeout_s=10)
    assert 200 > len(worker.log.read_text().splitlines())


def test_when_redis_refuses_it_the_process_ends_and_says_why(installation: Installation) -> None:
    installation.redis_url = installation.redis_url.replace("redis://", "redis://:wrong@")
    ended = installation.cli("run", "notify", "--port", "0")
    assert 1 == ended.returncode
    assert b"AuthenticationError" in ended.stderr
    assert b"wrong@" not in ended.stderr
