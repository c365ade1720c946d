"""``stagepost repartition``: more partitions, with every contact's state where it then belongs."""

from __future__ import annotations

from typing import Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, Redis, load_from
from stagepost.cli.output import FAILED, Failure, data, json_data, leave, note, progress_bar, server_failures
from stagepost.wording import counted


def add_to(app: typer.Typer) -> None:
    @app.command()
    def repartition(
        partitions: Annotated[
            int,
            typer.Option("--partitions", metavar="N", min=1, max=10_000, help="Of email.events; not fewer than now."),
        ],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would move, and change nothing.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """More partitions: every contact moves to its new one.

        Gives email.events, stagepost.state and journey.contacts as many, and writes each state where it then belongs.
        First stop whatever publishes to email.events, let the journey role process what is there, then stop all roles:
        otherwise it says what is left, and exits with 1. Stopped in the middle, it is to be run again; until it has
        finished, no worker starts.

        Example: stagepost repartition --partitions 24 --dry-run
        """
        from stagepost.engine.repartition import NotAtRest
        from stagepost.wiring import repartition_of

        settings = load_from(config, kafka, redis, prefix).settings
        with (
            server_failures(settings.kafka.bootstrap_servers, settings.redis.url),
            progress_bar("partitions") as progress,
        ):
            work = repartition_of(settings, note, progress)
            try:
                before = work.before(partitions)
                ready = not before.members and not before.left
                if before.done or not ready:
                    moved = None
                else:
                    moved = work.would_move(partitions) if dry_run else work.run(before.partitions, partitions)
            except NotAtRest as error:
                raise Failure(str(error)) from error
            finally:
                work.close()
        if as_json:
            json_data(
                {
                    "from": before.partitions,
                    "to": partitions,
                    "dry_run": dry_run,
                    "running": dict(before.members),
                    "left": {str(p): n for p, n in before.left.items()},
                    "contacts": moved.contacts if moved else 0,
                    "memberships": moved.memberships if moved else 0,
                    "done": ready and not dry_run,
                }
            )
        else:
            for group, members in before.members.items():
                data(f"{group}: {counted(members, 'worker')} running; stop them first")
            for partition, records in before.left.items():
                data(
                    f"email.events[{partition}]: {counted(records, 'record')} not processed; run the journey role first"
                )
            if moved is not None:
                would = "would move" if dry_run else "moved"
                data(f"{would} {counted(moved.contacts, 'contact')} and {counted(moved.memberships, 'membership')}")
                data(f"email.events: {before.partitions} -> {partitions} partitions")
            elif ready:
                data(f"email.events has {counted(partitions, 'partition')} already")
        if not ready:
            leave(FAILED)
