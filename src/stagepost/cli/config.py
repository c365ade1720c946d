"""``stagepost config``: what is set, and where it came from."""

from __future__ import annotations

from typing import Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, Redis, load_from
from stagepost.cli.output import data, json_data


def add_to(app: typer.Typer) -> None:
    config = typer.Typer(help="Settings: show what is in force.", no_args_is_help=True)
    app.add_typer(config, name="config")

    @config.callback()
    def group() -> None:
        """Settings: show what is in force."""

    @config.command()
    def show(
        origin: Annotated[bool, typer.Option("--origin", help="Say for each value where it came from.")] = False,
        meaning: Annotated[bool, typer.Option("--meaning", help="Say what each setting means.")] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
    ) -> None:
        """Show every setting with its value, secrets masked.

        Order: flag, environment, .env, stagepost.toml, default.

        Example: stagepost config show --origin --meaning
        """
        from stagepost.settings import meaning as meaning_of

        values = list(load_from(config, kafka, redis, prefix).values())
        if as_json:
            found: dict[str, dict[str, object]] = {path: {"value": value} for path, value, _ in values}
            for path, _, source in values:
                if origin:
                    found[path]["origin"] = source
                if meaning:
                    found[path]["meaning"] = meaning_of(path)
            json_data(found if origin or meaning else {path: value for path, value, _ in values})
            return
        width = max(len(path) for path, _, _ in values)
        for path, value, source in values:
            data(f"{path:{width}}  {value!r}" + (f"  ({source})" if origin else ""))
            if meaning:
                data(f"    {meaning_of(path)}")
