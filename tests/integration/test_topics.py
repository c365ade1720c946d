"""``stagepost topics`` against a real broker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from stagepost.edges.admin import admin_client, delete_topics
from stagepost.engine.plan import Topic
from stagepost.testing.servers import KafkaServer

NAMES = [str(topic) for topic in Topic]


class Cli:
    """Runs ``stagepost topics`` for one prefix."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.client: AdminClient = admin_client(bootstrap)
        self.prefix = prefix
        self._options = ["--kafka", bootstrap, "--prefix", prefix]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stagepost", "topics", *arguments, *self._options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def json(self, *arguments: str) -> dict[str, list[dict[str, object]]]:
        return json.loads(self.run(*arguments, "--json").stdout)

    def counts(self) -> dict[str, int]:
        topics = self.client.list_topics(timeout=10).topics
        return {name: len(topics[self.prefix + name].partitions) for name in NAMES if self.prefix + name in topics}


@pytest.fixture
def cli(kafka: KafkaServer, topic_prefix: str) -> Iterator[Cli]:
    made = Cli(kafka.bootstrap, topic_prefix)
    yield made
    delete_topics(made.client, [topic_prefix + name for name in NAMES])


def test_a_dry_run_names_all_topics_and_makes_none(cli: Cli) -> None:
    run = cli.run("create", "--dry-run")
    assert 0 == run.returncode
    assert [f"{cli.prefix}{name}" for name in NAMES] == [line.split()[2] for line in run.stdout.splitlines()]
    assert "partitions=12 replication=1 cleanup.policy=delete max.message.bytes=9437184" in run.stdout
    assert {} == cli.counts()


def test_creating_twice_changes_nothing_the_second_time_and_the_check_agrees(cli: Cli) -> None:
    first = cli.json("create", "--partitions", "3", "--tally-partitions", "2")
    assert {"created"} == {topic["result"] for topic in first["topics"]}
    second = cli.run("create")
    assert (0, {"exists"}) == (second.returncode, {line.split()[0] for line in second.stdout.splitlines()})
    two = {"stagepost.tallies", "stagepost.tallies.dlq", "stagepost.rollup"}
    assert {name: 2 if name in two else 3 for name in NAMES} == cli.counts()
    check = cli.run("check")
    assert (0, "", "13 topics are as they are to be\n") == (check.returncode, check.stdout, check.stderr)


def test_a_topic_made_later_gets_the_count_of_those_it_belongs_to(cli: Cli) -> None:
    cli.run("create", "--partitions", "3", "--tally-partitions", "2")
    delete_topics(cli.client, [cli.prefix + "stagepost.state", cli.prefix + "stagepost.rollup"])
    check = cli.run("check")
    assert (1, [f"{cli.prefix}stagepost.state: missing", f"{cli.prefix}stagepost.rollup: missing"]) == (
        check.returncode,
        check.stdout.splitlines(),
    )
    assert "stagepost topics create" in check.stderr
    cli.run("create")
    assert (3, 2) == (cli.counts()["stagepost.state"], cli.counts()["stagepost.rollup"])


def test_the_check_names_each_difference_with_what_is_expected(cli: Cli) -> None:
    cli.run("create", "--partitions", "2", "--tally-partitions", "2")
    more = cli.client.create_partitions([NewPartitions(cli.prefix + "stagepost.state", 3)])
    changed = ConfigResource(
        ResourceType.TOPIC,
        cli.prefix + "email.events",
        incremental_configs=[ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)],
    )
    for future in [*more.values(), *cli.client.incremental_alter_configs([changed]).values()]:
        future.result()
    assert cli.json("check")["differences"] == [
        {
            "topic": cli.prefix + "email.events",
            "what": "retention.ms",
            "expected": str(30 * 24 * 3600 * 1000),
            "found": "1000",
        },
        {"topic": cli.prefix + "stagepost.state", "what": "partitions", "expected": "2", "found": "3"},
    ]
    assert "kafka-configs --alter" in cli.run("check").stderr


def test_a_replication_that_the_cluster_cannot_have_is_said(cli: Cli) -> None:
    run = cli.run("create", "--replication", "9")
    assert (1, "") == (run.returncode, run.stdout)
    assert "replication factor" in run.stderr.lower()
    assert "Traceback" not in run.stderr
