"""``stagepost doctor`` on real servers: quiet where all is well, and each planted fault has its line."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from tests.integration.roles import Installation, wait_for
from tests.integration.stream import JOURNEY

from stagepost.edges.admin import admin_client, create_topics, delete_topics, topic_specs
from stagepost.events import MICROS, murmur2_partition, rfc3339
from stagepost.testing.servers import KafkaServer


@pytest.fixture
def installation(kafka, redis_url, topic_prefix, make_topics, tmp_path: Path) -> Installation:  # type: ignore[no-untyped-def]
    make_topics(topic_prefix, partitions=4, tally_partitions=2)
    (tmp_path / "journeys").mkdir()
    (tmp_path / "journeys" / "nurture.yaml").write_text(JOURNEY)
    return Installation(kafka.bootstrap, redis_url, topic_prefix, tmp_path / "journeys", tmp_path)


def event(contact: str, number: int, type_: str = "contact.subscribed", **more: Any) -> bytes:
    at = rfc3339(int(time.time()) * MICROS)
    return json.dumps(
        {"id": f"{contact}-{number}", "type": type_, "occurred_at": at, "contact": contact, **more}
    ).encode()


def examined(installation: Installation) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    run = installation.cli("doctor", "--json")
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(run.stdout)["checks"]:
        found.setdefault(each["check"], []).append((each["status"], each["detail"]))
    return run.returncode, found


def set_topic(installation: Installation, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, installation.topic(topic), incremental_configs=[entry])
    client = admin_client(installation.bootstrap)
    for future in client.incremental_alter_configs([resource]).values():
        future.result()


@pytest.fixture
def evicting(redis_url: str) -> Iterator[None]:
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        yield
        client.config_set("maxmemory-policy", "noeviction")


def test_a_working_installation_has_no_failed_check(installation: Installation) -> None:
    clicks = [(f"c{n}", event(f"c{n}", n, "email.clicked", provider="postmark", campaign="a"), []) for n in range(8)]
    installation.produce("email.events", clicks)
    with installation.running("journey"):
        code, found = examined(installation)
    assert (0, []) == (code, [(name, each) for name, all_ in found.items() for each in all_ if each[0] == "fail"])
    assert ("ok", f"{installation.prefix}stagepost.journey: 1 member") in found["groups"]
    assert "ok" == found["state"][0][0]
    assert found["events"] == [("ok", "8 of the newest 8 can be read")]
    assert found["keys"] == [("ok", "8 lie where murmur2 of their contact puts them")]
    assert found["tracking"] == [("ok", "postmark: opens or clicks are reported")]
    assert found["clocks"] == [("ok", f"{whose}: within 2 s of this machine") for whose in ("Redis", "broker")]
    assert found["broker version"] == [("ok", "4.0 or later")]
    assert "ok" == found["mirror"][0][0] == found["rights"][0][0] == found["transactions"][0][0]


def test_each_planted_fault_has_its_line(installation: Installation, evicting: None) -> None:
    set_topic(installation, "stagepost.state", "message.timestamp.type", "CreateTime")
    set_topic(installation, "email.raw", "retention.ms", "1000")
    producer = Producer({"bootstrap.servers": installation.bootstrap})
    producer.produce(
        installation.topic("email.events"), event("moved", 1), "moved", (murmur2_partition(b"moved", 4) + 1) % 4
    )
    producer.flush(20)
    sent = [(f"c{n}", event(f"c{n}", n, "email.delivered", provider="sendgrid", campaign="a"), []) for n in range(60)]
    installation.produce("email.events", [*sent, ("x", b"not json", [])])
    hanging = Producer(
        {"bootstrap.servers": installation.bootstrap, "transactional.id": "gone", "transaction.timeout.ms": 90_000}
    )
    hanging.init_transactions(20)
    hanging.begin_transaction()
    hanging.produce(installation.topic("stagepost.tallies"), b"v", b"k", 0)
    hanging.flush(20)
    code, found = examined(installation)
    hanging.abort_transaction(20)
    assert 1 == code
    named = installation.topic
    assert (
        "fail",
        f"{named('stagepost.state')}: message.timestamp.type is CreateTime, expected LogAppendTime",
    ) in found["topics"]
    assert ("warn", f"{named('email.raw')}: retention.ms is 1000, expected 604800000") in found["topics"]
    assert found["keys"] == [("warn", "1 of 61 lie where their contact does not belong, and are rerouted")]
    assert found["events"] == [("warn", "61 of the newest 62 can be read")]
    assert found["tracking"] == [("warn", "sendgrid: 60 deliveries and neither an open nor a click")]
    assert found["stable offsets"] == [
        ("fail", f"{named('stagepost.tallies')}[0]: a transaction has been open since offset 0 (end 1)")
    ]
    assert ("fail", "maxmemory-policy allkeys-lru") in found["redis memory"]
    assert ("warn", "broker: not told while no journey worker writes to stagepost.state") in found["clocks"]


def test_servers_that_are_away_are_findings(installation: Installation) -> None:
    run = installation.cli("doctor", "--fix-hints", "--kafka", "127.0.0.1:1", "--redis", "redis://127.0.0.1:1/0")
    lines = run.stdout.decode().splitlines()
    assert 1 == run.returncode
    assert ["fail", "broker"] == lines[0].split()[:2]
    assert "-> start it, or give its address with --kafka or STAGEPOST_KAFKA__BOOTSTRAP_SERVERS" in lines[1]
    assert ["fail", "redis"] == lines[2].split()[:2]
    assert b"Traceback" not in run.stderr


def test_a_state_topic_that_lost_committed_batches_is_named(installation: Installation, kafka: KafkaServer) -> None:
    installation.produce("email.events", [("c1", event("c1", 1), [])])
    with installation.running("journey") as (worker,):
        wait_for(lambda: len(installation.read("journey.transitions")) == 1, 30, "a move", worker.log)
    client = admin_client(installation.bootstrap)
    delete_topics(client, [installation.topic("stagepost.state")])
    wait_for(lambda: installation.topic("stagepost.state") not in client.list_topics().topics, 20, "it is gone")
    specs = topic_specs(installation.prefix, 4, 2, 1)
    create_topics(client, [spec for spec in specs if spec.topic == "stagepost.state"])
    code, found = examined(installation)
    home = murmur2_partition(b"c1", 4)
    [(status, detail)] = found["state"]
    assert (1, "fail") == (code, status)
    assert detail.startswith("Kafka lost committed data")
    assert f"{home} (batch 0 of " in detail
