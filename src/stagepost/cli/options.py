"""Options that every verb with a connection has, and how settings are made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
