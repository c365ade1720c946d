"""``stagepost bridge``: an HTTP receiver of webhooks, for whoever has no bridge of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, Quiet, Verbose, load_from
from stagepost.cli.output import Failure, complain, note
from stagepost.edges.roles import BRIDGE_PORT


def add_to(app: typer.Typer) -> None:
    @app.command()
    def bridge(
        port: Annotated[
            int, typer.Option("--port", metavar="N", min=0, max=65_535, help="To listen on. 0: any free one.")
        ] = BRIDGE_PORT,
        host: Annotated[str, typer.Option("--host", help="Address to bind; put a proxy with TLS before it.")] = (
            "127.0.0.1"
        ),
        config: Config = None,
        kafka: Kafka = None,
        prefix: Prefix = None,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Receive webhooks over HTTP and publish them to email.raw.

        At /webhooks/PROVIDER/ACCOUNT, until SIGTERM or Ctrl-C.

        A post is answered 2xx once Kafka has it. Where an account has secrets, signatures are checked before, and posts
        of its provider are taken under the names of accounts only.

        Example: stagepost bridge --port 8085 --kafka localhost:9092
        """
        import logging

        from stagepost.edges import logs
        from stagepost.edges.metrics import Metrics
        from stagepost.edges.signals import stopping
        from stagepost.normalise import PROVIDERS, is_keyed
        from stagepost.wiring import account_configs, build_bridge

        settings = load_from(config, kafka, None, prefix).settings
        level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
        logs.configure(level, as_json=True if as_json else None)
        try:
            running = build_bridge(settings, (host, port), Metrics())
        except OSError as error:
            raise Failure(
                f"cannot listen on {host}:{port}: {error.strerror} (another place: --port, --host)"
            ) from error
        note(f"stagepost bridge: http://{host}:{running.port}/webhooks/PROVIDER/ACCOUNT")
        accounts = account_configs(settings)
        if unsigned := sorted(provider for provider in PROVIDERS if not is_keyed(accounts, provider)):
            complain(f"stagepost bridge: no secrets are set for {', '.join(unsigned)}: their posts are taken unsigned")
        with stopping(running.stop):
            running.run()
