"""Options that verbs have in common, and how settings are made of them.

    who                        has
    every verb                 --json (``convert`` writes nothing else), -q, -v
    every verb with settings   --config, --kafka, --redis, --prefix: one set of flags fits all of them, also those that
                               ask nothing of the one or other

``Verbs`` adds what a verb does not name itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from stagepost.cli.output import VOICE

if TYPE_CHECKING:
    from stagepost.settings import Loaded

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of ./stagepost.toml.")
]
Kafka = Annotated[
    str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Bootstrap servers (kafka.bootstrap_servers).")
]
Redis = Annotated[str | None, typer.Option("--redis", metavar="URL", help="Redis (redis.url).")]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="TEXT", help="In front of every topic and group, its dot included.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output, with keys that stay.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Details for finding faults.")]

_UNUSED = "Taken as by all verbs with settings; this one asks nothing of it."

_OWN_PREFIX = frozenset({"demo"})
"""Verbs that work under a prefix of their own, so that none can be given."""


class Verbs(TyperGroup):
    """The group of all verbs: each has the options of the table above."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for command in self.commands.values():
            _complete(command)


def _complete(command: Any) -> None:
    """Add what is missing to a verb, or to each verb of a group."""
    if hasattr(command, "commands"):
        for each in command.commands.values():
            _complete(each)
        return
    known = {parameter.name: parameter for parameter in command.params}
    for name, option in _shared().items():
        speaks = name in ("quiet", "verbose")
        if name in known:
            option = known[name]
        elif speaks or ("config" in known and not (name == "prefix" and command.name in _OWN_PREFIX)):
            option.expose_value = False
            option.help = option.help if speaks else _UNUSED
            command.params.append(option)
        if speaks:
            option.callback = _speak


def _shared() -> dict[str, Any]:
    """New parameters of click, made by typer as it makes those of verbs."""
    donor = typer.Typer(add_completion=False)

    @donor.command()
    def options(
        kafka: Kafka = None, redis: Redis = None, prefix: Prefix = None, quiet: Quiet = False, verbose: Verbose = False
    ) -> None: ...

    return {str(option.name): option for option in typer.main.get_command(donor).params}


def _speak(context: Any, option: Any, value: bool) -> bool:
    """What ``-q`` and ``-v`` do before the verb begins; verbs that run on set up their logs themselves."""
    setattr(VOICE, option.name, value)
    if option.name == "verbose" and value:
        import logging

        from stagepost.edges import logs

        logging.getLogger("librdkafka").disabled = False
        logs.configure(logging.DEBUG)
    return value


def load_from(
    config: Path | None,
    kafka: str | None = None,
    redis: str | None = None,
    prefix: str | None = None,
    journeys: Path | None = None,
) -> Loaded:
    """Settings of this process and its options. Raises SettingsError."""
    from stagepost.settings import load

    flags = {
        "kafka.bootstrap_servers": kafka,
        "redis.url": redis,
        "prefix": prefix,
        "journeys": None if journeys is None else str(journeys),
    }
    return load(flags, config, os.environ)
