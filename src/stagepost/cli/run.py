"""``stagepost run``: one role in this process, or all of them as processes of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stagepost.cli.options import Config, Json, Kafka, Prefix, Quiet, Redis, Verbose, load_from
from stagepost.cli.output import FAILED, USAGE, Failure, leave, note
from stagepost.edges.roles import BASE_PORT, PORTS

if TYPE_CHECKING:
    from stagepost.edges.roles import Role, RunOptions
    from stagepost.settings import Settings

STOP_GRACE_S = 30.0
"""What ``run all`` gives its roles to end: twice the transaction timeout of 15 s (delivery.md 3)."""

_STARTING_S = 60.0
"""Of a role that waits for its cluster, as seen by the health check: it is alive for as long as it answers."""

ROLES = tuple(PORTS)


def add_to(app: typer.Typer) -> None:
    @app.command()
    def run(
        role: Annotated[str, typer.Argument(metavar="ROLE", help=f"{', '.join(ROLES)}, or all.")],
        journeys: Annotated[
            Path | None, typer.Option("--journeys", metavar="DIR", help="Folder of the journey files.")
        ] = None,
        port: Annotated[
            int | None,
            typer.Option(
                "--port",
                metavar="N",
                min=0,
                max=65_500,
                help="Of the health server; with all, the base instead of 8080. 0: any free one.",
            ),
        ] = None,
        host: Annotated[str, typer.Option("--host", help="Address that the health server binds.")] = "127.0.0.1",
        instance: Annotated[
            str | None,
            typer.Option(
                "--instance", metavar="NAME", help="A stable name, of which only one may run. Default: unique."
            ),
        ] = None,
        start: Annotated[
            str,
            typer.Option(
                "--from", metavar="earliest|latest|TIME", help="Where to begin when nothing was ever committed."
            ),
        ] = "earliest",
        rebuild: Annotated[
            bool,
            typer.Option("--rebuild", help="Accept a committed offset that was moved by hand, and rebuild from it."),
        ] = False,
        config: Config = None,
        kafka: Kafka = None,
        redis: Redis = None,
        prefix: Prefix = None,
        as_json: Json = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Run a role until SIGTERM or Ctrl-C.

        A second signal ends it at once. With all, a role that fails is started again after a pause, and one that ends
        by itself or has wrong settings ends them all.

        Logs go to standard error, as JSON unless that is a terminal (--json: always).

        Example: stagepost run journey --journeys ./journeys --port 8082
        """
        import logging
        import uuid

        from stagepost.edges import logs
        from stagepost.edges.roles import RunOptions

        if role not in (*ROLES, "all"):
            raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}, all", param_hint="ROLE")
        options = RunOptions(instance or uuid.uuid4().hex[:12], _start(start), instance is not None, rebuild)
        settings = load_from(config, kafka, redis, prefix, journeys).settings
        settings.tenant_key()
        level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
        logs.configure(level, as_json=True if as_json else None)
        if role == "all":
            arguments = ["--host", host, "--from", start]
            for given, name in ((rebuild, "--rebuild"), (as_json, "--json"), (quiet, "-q"), (verbose, "-v")):
                arguments += [name] if given else []
            if config is not None:
                arguments += ["--config", str(config)]
            # Not as arguments, which every user of the machine can read: the address of Redis may hold a password.
            environment = {
                "STAGEPOST_KAFKA__BOOTSTRAP_SERVERS": kafka,
                "STAGEPOST_REDIS__URL": redis,
                "STAGEPOST_PREFIX": prefix,
                "STAGEPOST_JOURNEYS": None if journeys is None else str(journeys),
            }
            given_only = {name: value for name, value in environment.items() if value is not None}
            leave(_run_all(settings, arguments, given_only, instance, port))
        _run_one(role, settings, options, host, port)


def _run_one(role: str, settings: Settings, options: RunOptions, host: str, port: int | None) -> None:
    from stagepost.edges.signals import stopping
    from stagepost.settings import SettingsError

    built: list[Role] = []
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        for running in built:
            running.stop()

    with stopping(stop):
        # Imported here: the clients take most of the start, within which the role may be asked to end.
        from stagepost.edges.errors import EdgeError
        from stagepost.edges.health import HealthServer
        from stagepost.edges.logs import logger
        from stagepost.edges.metrics import Metrics
        from stagepost.edges.roles import Status
        from stagepost.wiring import await_cluster, build_role

        _look_at_journeys(role, settings)
        metrics, port = Metrics(), PORTS[role] if port is None else port

        def status() -> Status:
            return built[0].status if built else Status(time.monotonic(), _STARTING_S, ("Kafka does not answer yet",))

        try:
            health = HealthServer(host, port, status, metrics.render, settings.public())
        except OSError as error:
            raise Failure(f"cannot listen on {host}:{port}: {error.strerror} (another port: --port)") from error
        health.start()
        note(f"stagepost {role}: health on http://{host}:{health.port}")
        try:
            if await_cluster(settings, lambda: asked, "stagepost.run"):
                built.append(build_role(role, settings, options, metrics))
            if built and not asked:
                built[0].run()
        except EdgeError:
            if not asked or built:  # else it was asked to end while it was being built
                raise
        except SettingsError:
            raise
        except Exception:
            # Through the log, which cuts addresses out of what the exception says.
            logger("stagepost.run", role=role, instance=options.instance).exception("the role failed")
            leave(FAILED)
        finally:
            health.close()


def _look_at_journeys(role: str, settings: Settings) -> None:
    """Tell a broken file at once, and not when Kafka answers: the role reads them again then, as they are by that time.

    Raises SettingsError.
    """
    from stagepost.wiring import read_journeys

    if role == "journey":
        read_journeys(settings)


def _run_all(
    settings: Settings, arguments: list[str], environment: dict[str, str], instance: str | None, port: int | None
) -> int:
    from stagepost.edges.logs import logger
    from stagepost.edges.processes import Command, ProcessGroup, Supervisor, role_command
    from stagepost.edges.signals import stopping
    from stagepost.wiring import await_cluster

    _look_at_journeys("journey", settings)
    log = logger("stagepost.all")
    commands = []
    for role in ROLES:
        named = [] if instance is None else ["--instance", f"{instance}-{role}"]
        listen = 0 if port == 0 else PORTS[role] - BASE_PORT + (BASE_PORT if port is None else port)
        commands.append(Command(role, role_command(role, *arguments, *named, "--port", str(listen)), environment))
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True

    with ProcessGroup(grace_s=STOP_GRACE_S) as group:
        supervisor = Supervisor(group, commands)
        with stopping(stop, supervisor.kill):
            # Here once, and not in each role with a line of its own.
            if not await_cluster(settings, lambda: asked, "stagepost.all"):
                return 0
            supervisor.start()
            while not asked and not supervisor.down:
                for ended in supervisor.check():
                    log.warning("a role ended", role=ended.name, code=ended.code, restart_in_s=ended.restart_in_s)
                time.sleep(0.2)
            supervisor.stop(STOP_GRACE_S)
    if asked:
        return 0
    return USAGE if USAGE in supervisor.down.values() else FAILED


def _start(text: str) -> str:
    """``--from``: a word, or a time that can be read."""
    if text in ("earliest", "latest"):
        return text
    from stagepost.events import parse_rfc3339

    try:
        parse_rfc3339(text)
    except ValueError:
        message = f"{text!r} is neither earliest nor latest nor an RFC 3339 time"
        raise typer.BadParameter(message, param_hint="--from") from None
    return text
