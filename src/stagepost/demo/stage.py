"""Everything that the demo runs on: broker, Redis, topics and the four roles, from their start to their removal.

The roles are those of ``stagepost run``, each a process of its own. They see none of the user's settings but the raw
client options of a given broker, and what they are told here.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stagepost.demo.accounting import Counters, read_counters
from stagepost.edges.admin import admin_client, create_topics, plan_topics
from stagepost.edges.cleanup import existing_topics, remove_from_kafka, remove_from_redis
from stagepost.edges.embedded_kafka import EmbeddedKafka
from stagepost.edges.local_kafka import LocalKafka
from stagepost.edges.local_redis import start_local_redis
from stagepost.edges.local_servers import HOST, free_ports
from stagepost.edges.processes import Command, Exit, ProcessGroup, Supervisor, role_command
from stagepost.edges.roles import BASE_PORT, PORTS
from stagepost.edges.topics import TopicNames
from stagepost.engine.plan import Topic
from stagepost.settings import mask_url

PREFIX = "stagepost-demo."

JOURNEYS = Path(__file__).with_name("journeys")

_STOP_S = 10.0
"""A role ends within this when broker and Redis answer."""

_ANSWER_S = 2.0
"""For a health server on this machine."""

_SETTINGS = {
    # Parents have no rivals here, and nobody wants to watch for two minutes.
    "STAGEPOST_NOTIFY__GROUP_WAIT": "2",
    "STAGEPOST_NOTIFY__RECEIVERS": "[]",
}


@dataclass(frozen=True)
class Servers:
    """Where to run. ``kafka``: ``embedded``, ``local`` or bootstrap servers; ``redis``: ``embedded`` or a URL."""

    kafka: str = "embedded"
    redis: str = "embedded"
    port: int | None = None
    """Base of the roles' health ports, as for ``run all``; None: any free ones."""
    keep: bool = False
    reuse: bool = False
    librdkafka: Mapping[str, str] = field(default_factory=dict)
    """Raw client options, for a given broker only."""

    @property
    def own_kafka(self) -> bool:
        return self.kafka in ("embedded", "local")

    @property
    def own_redis(self) -> bool:
        return self.redis == "embedded"


class Refused(Exception):
    """The demo will not run there; the message says why and what to do."""


class Stage:
    """Up from ``with`` on: broker, Redis and topics at once, the roles some seconds later (``not_ready``).

    Raises Refused, LocalServerError, KafkaException.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.names = TopicNames(PREFIX)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STAGEPOST_")}
        self._group = ProcessGroup(environment=inherited)
        self._embedded: EmbeddedKafka | None = None
        self._roles: Supervisor | None = None
        ports = (
            free_ports(len(PORTS)) if servers.port is None else [servers.port + p - BASE_PORT for p in PORTS.values()]
        )
        self.ports = dict(zip(PORTS, ports, strict=True))

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._group.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop_roles()
            self._remove()
        finally:
            self._group.close()
            if self._embedded is not None:
                self._embedded.close()

    @property
    def client(self) -> dict[str, Any]:
        """librdkafka's settings for clients of this broker."""
        own = {} if self._servers.own_kafka else self._servers.librdkafka
        # What goes wrong is raised or shown by the roles' logs.
        return {**own, "bootstrap.servers": self.bootstrap, "log_level": 0}

    @property
    def flags(self) -> str:
        """What leads other commands here."""
        return f"--kafka {self.bootstrap} --redis {mask_url(self.redis_url)} --prefix {self.names.prefix}"

    def check(self) -> tuple[Exit, ...]:
        """Roles that ended since the last call; they are started again after a pause."""
        return () if self._roles is None else self._roles.check()

    def not_ready(self, roles: Iterable[str]) -> dict[str, str]:
        """Those of ``roles`` that do not serve yet, with what they say."""
        found = {role: self._ask(role, "/readyz") for role in roles}
        return {role: text.strip() or "starting" for role, (ok, text) in found.items() if not ok}

    def counters(self, role: str) -> Counters | None:
        """The counters of a role; None when it does not answer."""
        ok, text = self._ask(role, "/metrics")
        return read_counters(text) if ok else None

    def log(self, role: str, lines: int = 20) -> str:
        """The end of a role's log."""
        path = self._log_file(role)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def stop_roles(self) -> dict[str, int]:
        """SIGTERM to all; exit codes by role. A second call does nothing."""
        return {} if self._roles is None else self._roles.stop(_STOP_S)

    def _start(self) -> None:
        servers = self._servers
        self.bootstrap = self._kafka()
        self.redis_url = start_local_redis(self._group).url if servers.own_redis else servers.redis
        self._make_topics()
        if not servers.own_redis:
            remove_from_redis(self.redis_url, PREFIX)
        home = self._group.subfolder("roles")
        settings = {
            **_SETTINGS,
            "STAGEPOST_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "STAGEPOST_REDIS__URL": self.redis_url,
            "STAGEPOST_PREFIX": PREFIX,
            "STAGEPOST_JOURNEYS": str(JOURNEYS),
            "STAGEPOST_IDENTITY__TENANT_KEY": secrets.token_hex(32),
            # Whatever a library of theirs writes there goes with the folder.
            "TMPDIR": str(home),
        }
        if not servers.own_kafka and servers.librdkafka:
            settings["STAGEPOST_KAFKA__LIBRDKAFKA"] = json.dumps(dict(servers.librdkafka))
        self._roles = Supervisor(
            self._group,
            [
                # In a folder of their own, where no stagepost.toml or .env of the user lies.
                Command(role, role_command(role, "--port", str(port), "--json"), settings, self._log_file(role), home)
                for role, port in self.ports.items()
            ],
        )
        self._roles.start()

    def _kafka(self) -> str:
        match self._servers.kafka:
            case "embedded":
                self._embedded = EmbeddedKafka()
                return self._embedded.bootstrap
            case "local":
                return LocalKafka(self._group).bootstrap
            case bootstrap:
                return bootstrap

    def _make_topics(self) -> None:
        if self._embedded is not None:
            self._embedded.touch(self.names.full(topic) for topic in Topic)
            return
        client = admin_client(self.bootstrap, self._servers.librdkafka)
        found = existing_topics(client, self.names)
        if found and not self._servers.reuse:
            raise Refused(
                f"topics of an earlier demo are on {self.bootstrap} ({found[0]} and {len(found) - 1} more); "
                "--reuse deletes and makes them anew"
            )
        if found:
            remove_from_kafka(client, self.names, PORTS)
        create_topics(client, plan_topics(client, PREFIX, None, None, None))

    def _remove(self) -> None:
        """Take away what is ours on servers that go on living."""
        if self._servers.keep:
            return
        if not self._servers.own_kafka:
            client = admin_client(self.bootstrap, self._servers.librdkafka)
            remove_from_kafka(client, self.names, PORTS)
        if not self._servers.own_redis:
            remove_from_redis(self.redis_url, PREFIX)

    def _ask(self, role: str, path: str) -> tuple[bool, str]:
        """Whether the answer is 200, and its text; an empty text when there is none."""
        url = f"http://{HOST}:{self.ports[role]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:
                return True, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return False, error.read().decode(errors="replace")
        except OSError:
            return False, ""

    def _log_file(self, role: str) -> Path:
        return self._group.folder / f"{role}.log"
