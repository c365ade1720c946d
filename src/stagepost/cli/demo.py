"""``stagepost demo``: three weeks of e-mail in a minute, through the real roles, with nothing to set up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stagepost.cli.options import Config, Json, load_from
from stagepost.cli.output import FAILED, Failure, data, json_data, leave, server_failures

ABOUT = """\
stagepost demo starts a broker, a Redis and the roles normalise, journey, rollup and notify as processes of their own,
makes up three weeks of webhooks and company events from a seed, and plays them in about a minute. The roles are the
ones that run in production, with the same code and the default settings, but for one waiting time of notify.

The embedded broker is the one that librdkafka carries for its own tests. It lacks:
  isolation       records of open and of aborted transactions are visible
  fencing         a worker that was replaced is not stopped by the broker
  offsets         those of transactions are accepted and not kept
  compaction      and CreateTopics: topics appear on first use, with 4 partitions
  memory          5 MiB or 100,000 records a partition; what is older is silently gone
  a promise       its interface is marked experimental in rdkafka_mock.h
So it shows, and proves nothing about delivery: no crash, no restart, no second worker. For these take a real broker:
  stagepost demo --kafka local         Apache Kafka without Docker (extra local, about 150 MB once)
  stagepost demo --kafka HOST:PORT     yours, under the prefix stagepost-demo., removed at the end unless --keep

What the numbers of --json mean: raw_in counts webhook posts, parts what they held, events everything that came in as an
event, of which each is applied, duplicates, late, suppressed or dead_lettered; balanced says that this adds up, in the
roles' own counters and against what was published.
"""

NEXT = """\
next:
  stagepost test {journey}
  stagepost demo --about
  stagepost demo --kafka local --for 60s"""

Duration = Annotated[
    str | None,
    typer.Option("--for", metavar="60s", help="End after so much wall time, all included. Default: until Ctrl-C."),
]


def add_to(app: typer.Typer) -> None:
    @app.command()
    def demo(
        for_: Duration = None,
        seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the traffic.")] = 1,
        kafka: Annotated[
            str,
            typer.Option("--kafka", metavar="embedded|local|HOST:PORT", help="local: a real one, without Docker."),
        ] = "embedded",
        redis: Annotated[
            str, typer.Option("--redis", metavar="embedded|URL", help="Where to keep state.")
        ] = "embedded",
        port: Annotated[
            int | None,
            typer.Option("--port", metavar="N", min=1, max=65_500, help="Base of the roles' ports. Default: any free."),
        ] = None,
        keep: Annotated[
            bool, typer.Option("--keep", help="Leave topics and keys on a given broker and Redis.")
        ] = False,
        reuse: Annotated[
            bool, typer.Option("--reuse", help="Delete what an earlier demo left there, instead of refusing to start.")
        ] = False,
        about: Annotated[
            bool, typer.Option("--about", help="Say what this shows and what it does not, and end.")
        ] = False,
        config: Config = None,
        as_json: Json = False,
    ) -> None:
        """Watch webhooks become moves, metrics and alerts.

        Three weeks in a minute; no services needed.

        Ends with Ctrl-C or --for; exit code 1 when a sum does not close or an alert fires where nothing was planted.

        Example: stagepost demo --for 60s --json
        """
        if about:
            data(ABOUT.rstrip())
            return
        for_s = _seconds(for_)
        from stagepost.demo.stage import JOURNEYS, Refused, Servers
        from stagepost.demo.supervisor import Request, RoleFailed, run_demo
        from stagepost.demo.view import screen_on

        own = kafka in ("embedded", "local")
        librdkafka = {} if own else load_from(config, kafka).settings.kafka.librdkafka
        servers = Servers(kafka, redis, port, keep, reuse, librdkafka)
        screen = screen_on(sys.stderr if as_json else sys.stdout, "NO_COLOR" not in os.environ)
        try:
            with server_failures(kafka, redis):
                outcome = run_demo(Request(servers, seed, for_s), screen)
        except (Refused, RoleFailed) as error:
            raise Failure(str(error)) from error
        finally:
            screen.close()
        if as_json:
            json_data(outcome.as_json())
        else:
            data("\n".join([*outcome.as_text(), NEXT.format(journey=_shown(JOURNEYS))]))
        if outcome.problems:
            leave(FAILED)


def _seconds(text: str | None) -> float | None:
    """``--for``: a duration of the journey language, or plain seconds."""
    if text is None:
        return None
    from stagepost.events import MICROS
    from stagepost.journey.durations import parse_duration

    try:
        return float(text) if text.isdigit() else parse_duration(text) / MICROS
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no duration such as 60s or 5m", param_hint="--for") from error


def _shown(path: Path) -> str:
    """As short as it can be typed here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
