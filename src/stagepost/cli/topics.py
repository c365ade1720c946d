"""``stagepost topics``: make the topics, and compare them with what they are to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, load_from
from stagepost.cli.output import FAILED, complain, data, json_data, leave, note, server_failures
from stagepost.wording import counted

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from stagepost.edges.admin import TopicSpec

Partitions = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        metavar="N",
        min=1,
        max=10_000,
        help="Of email.events and all others by contact. Default: as it is, else 12.",
    ),
]
TallyPartitions = Annotated[
    int | None,
    typer.Option(
        "--tally-partitions",
        metavar="N",
        min=1,
        max=1_000,
        help="Of stagepost.tallies and .rollup. Default: as it is, else 4.",
    ),
]
Replication = Annotated[
    int | None,
    typer.Option(
        "--replication", metavar="N", min=1, max=10, help="Copies of each. Default: 3, or one for each broker."
    ),
]


def add_to(app: typer.Typer) -> None:
    topics = typer.Typer(help="Topics: make them, compare them.", no_args_is_help=True)
    app.add_typer(topics, name="topics")

    @topics.command()
    def create(
        partitions: Partitions = None,
        tally_partitions: TallyPartitions = None,
        replication: Replication = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be made.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Make the topics that are missing. Those that exist stay as they are.

        Example: stagepost topics create --kafka localhost:9092 --partitions 24
        """
        from stagepost.edges.admin import create_topics, would_create

        with _planned(config, kafka, prefix, partitions, tally_partitions, replication) as (client, specs):
            made = would_create(client, specs) if dry_run else create_topics(client, specs)
        if as_json:
            json_data({"topics": [{**_described(spec), "result": str(made[spec.name])} for spec in specs]})
            return
        for spec in specs:
            settings = " ".join(f"{key}={value}" for key, value in sorted(spec.config.items()))
            details = f"  partitions={spec.partitions} replication={spec.replication} {settings}"
            data(f"{made[spec.name]:12}  {spec.name}" + (details if made[spec.name] != "exists" else ""))

    @topics.command()
    def check(
        partitions: Partitions = None,
        tally_partitions: TallyPartitions = None,
        replication: Replication = None,
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Compare partitions, policy and retention with what they are to be. Exit code 1 when something differs.

        Example: stagepost topics check --kafka localhost:9092
        """
        from stagepost.edges.admin import check_topics

        with _planned(config, kafka, prefix, partitions, tally_partitions, replication) as (client, specs):
            differences = check_topics(client, specs)
        if as_json:
            json_data(
                {
                    "differences": [
                        {"topic": each.topic, "what": each.what, "expected": each.expected, "found": each.found}
                        for each in differences
                    ]
                }
            )
        else:
            for each in differences:
                data(
                    f"{each.topic}: missing"
                    if each.what == "topic"
                    else f"{each.topic}: {each.what} is {each.found}, expected {each.expected}"
                )
        for remedy in _remedies({each.what for each in differences}):
            complain(remedy)
        if differences:
            leave(FAILED)
        note(f"{counted(len(specs), 'topic')} are as they are to be")


def _remedies(what: set[str]) -> Iterator[str]:
    """How to mend what differs: a topic that is missing, its number of partitions, a setting."""
    if "topic" in what:
        yield "make the missing topics with: stagepost topics create"
    if "partitions" in what:
        yield "contacts lie by the number of partitions; to change it: stagepost repartition --partitions N"
    if what - {"topic", "partitions"}:
        yield "change settings with the cluster's own tools, such as kafka-configs --alter --add-config NAME=VALUE"


@contextmanager
def _planned(
    config: Path | None,
    kafka: str | None,
    prefix: str | None,
    partitions: int | None,
    tally_partitions: int | None,
    replication: int | None,
) -> Iterator[tuple[AdminClient, tuple[TopicSpec, ...]]]:
    """A client and what the topics are to be there; errors of Kafka become failures that name it."""
    from stagepost.edges.admin import admin_client, plan_topics

    settings = load_from(config, kafka, prefix=prefix).settings
    client = admin_client(settings.kafka.bootstrap_servers, settings.kafka.librdkafka)
    with server_failures(settings.kafka.bootstrap_servers, settings.redis.url):
        yield client, plan_topics(client, settings.prefix, partitions, tally_partitions, replication)


def _described(spec: TopicSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "partitions": spec.partitions,
        "replication": spec.replication,
        "config": dict(spec.config),
    }
