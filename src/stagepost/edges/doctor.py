"""What ``stagepost doctor`` looks at: broker, rights, topics, transactions, what lies in them, Redis, clocks.

Each check asks and returns data; an answer that does not come is a finding too. Nothing is written anywhere, but for
the id of one transactional producer, which the broker forgets. May not contain: printing.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, OffsetSpec, ResourceType

from stagepost.edges.admin import CONFIGS, TopicSpec, check_topics, group_members, plan_topics
from stagepost.edges.errors import EdgeError, in_words
from stagepost.edges.group_offsets import GroupOffsets
from stagepost.edges.kafka_log import KafkaSettings
from stagepost.edges.mirror import too_old
from stagepost.edges.ports import Mirror, decode_committed
from stagepost.edges.producers import KafkaProducer
from stagepost.edges.tail import READER, record_of
from stagepost.edges.topics import TopicNames
from stagepost.engine.intake import Incoming, read_event
from stagepost.engine.plan import CONTROL_KEY, Record, Topic, decode_control
from stagepost.events import murmur2_partition
from stagepost.wording import counted

_LOGGER = logging.getLogger("librdkafka")

_ASK_S = 5.0
"""For one answer: a cluster that takes longer is of no use to a worker either."""

_PRODUCER_S = 10.0
"""For a transactional producer, whose coordinator may have to be elected first."""

SAMPLE = 200
"""Newest records looked at of each partition of ``email.events``."""

_SAMPLE_S = 10.0

SKEW_S = 2.0
"""Clocks further apart than this are named: lag in seconds and ages of mirrors are wrong by as much."""

_FRESH_S = 20.0
"""A working ``journey`` writes every 5 s; where the newest record is older, the broker's clock cannot be told by it."""

_ENOUGH = 50
"""Deliveries of a provider after which an open or a click should have been seen."""

_PROTOCOL = frozenset(
    {"min.insync.replicas", "message.timestamp.type", "cleanup.policy", "max.compaction.lag.ms", "delete.retention.ms"}
)
"""Settings of topics on which delivery depends; what else differs is the operator's choice."""

_GROUPS = {"normalise": Topic.RAW, "journey": Topic.EVENTS, "rollup": Topic.TALLIES}

_STABLE = (Topic.RAW, Topic.EVENTS, Topic.STATE, Topic.CONTACTS, Topic.TRANSITIONS, Topic.TALLIES, Topic.ROLLUP)
"""Topics whose readers an open transaction would hold up."""


_INTERNAL = ("__consumer_offsets", "__transaction_state")
"""Kafka's own, on which every commit rests."""

_SESSION_MS, _TRANSACTION_MS = KafkaSettings.session_timeout_ms, KafkaSettings.transaction_timeout_ms
"""What the roles ask the brokers for; they have to allow it."""


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and how to mend it (empty: nothing to do)."""

    check: str
    status: Status
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class Ends:
    """Of one partition: the end for committed readers, and the true one."""

    stable: int
    high: int


class Doctor:
    """All checks of one installation. For one thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        names: TopicNames,
        client: redis.Redis,
        mirror: Mirror,
        transaction_timeout_s: float,
        redis_url: str,
    ) -> None:
        """``settings``: of librdkafka, bootstrap servers included. ``redis_url``: to name it. Connects when asked."""
        self._settings = dict(settings)
        self._names = names
        self._redis = client
        self._mirror = mirror
        self._redis_url = redis_url
        self._stuck_after_s = transaction_timeout_s + 5
        self._admin = AdminClient({"log_level": 0, **self._settings}, logger=_LOGGER)

    def checks(self) -> Sequence[tuple[str, Callable[[], Iterator[Finding]]]]:
        """Name and check, in the order to run them; those of Kafka need an answer to the first one."""
        return (
            ("broker", self.broker),
            ("topics", self.topics),
            ("rights", self.rights),
            ("transactions", self.transactions),
            ("groups", self.groups),
            ("state", self.state),
            ("stable offsets", self.stable_offsets),
            ("events", self.events),
            ("redis", self.redis_server),
            ("mirror", self.mirror),
            ("clocks", self.clocks),
        )

    def run(self, begun: Callable[[str], None] = lambda name: None) -> Iterator[Finding]:
        """Every finding, in order; ``begun`` is called with each check before it is made. Without a broker Redis alone
        is looked at."""
        reachable = True
        for name, check in self.checks():
            if not reachable and name != "redis":
                continue
            begun(name)
            try:
                yield from check()
            except (KafkaException, EdgeError, redis.RedisError, OSError) as error:
                text = in_words(error, self._settings["bootstrap.servers"], self._redis_url) or str(error)
                reachable = reachable and name != "broker"
                yield Finding(name, Status.FAIL, text, _UNREACHABLE.get(name, ""))

    def broker(self) -> Iterator[Finding]:
        cluster = self._admin.list_topics(timeout=_ASK_S)
        number = len(cluster.brokers)
        yield Finding("broker", Status.OK, f"{counted(number, 'broker')} answering")
        configs = self._broker_configs(min(cluster.brokers))
        if configs is None:
            yield Finding("broker version", Status.WARN, "not told without the right to describe the brokers")
            return
        version = version_of(configs)
        if version is None:
            yield Finding("broker version", Status.FAIL, "older than 3.6", "Kafka 3.6 is the least, 4.x recommended")
        else:
            yield Finding("broker version", Status.OK, f"{version} or later")
        yield from broker_findings(configs)

    def topics(self) -> Iterator[Finding]:
        specs = plan_topics(self._admin, self._names.prefix, None, None, None)
        found = 0
        for each in check_topics(self._admin, specs):
            found += 1
            if each.what == "topic":
                yield Finding("topics", Status.FAIL, f"{each.topic} is missing", "stagepost topics create")
            elif each.what == "partitions":
                yield Finding(
                    "topics",
                    Status.FAIL,
                    f"{each.topic} has {each.found} partitions, expected {each.expected}",
                    f"stagepost repartition --partitions {max(each.expected, str(each.found), key=int)}",
                )
            else:
                serious = each.what in _PROTOCOL
                yield Finding(
                    "topics",
                    Status.FAIL if serious else Status.WARN,
                    f"{each.topic}: {each.what} is {each.found}, expected {each.expected}",
                    f"kafka-configs --alter --topic {each.topic} --add-config {each.what}={each.expected}",
                )
        if not found:
            yield Finding("topics", Status.OK, f"{len(specs)} topics are as they are to be")
        yield from self._replication(specs)

    def rights(self) -> Iterator[Finding]:
        """What this client may do, as the brokers tell it; each role needs a part of that."""
        known = self._admin.list_topics(timeout=_ASK_S).topics
        names = [name for topic in CONFIGS if (name := self._names.full(topic)) in known]
        if not names:
            return
        described = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=_ASK_S
        )
        lacking: list[str] = []
        untold = 0
        for name, future in described.items():
            operations = future.result().authorized_operations
            untold += operations is None
            missing = [] if operations is None else missing_rights(operations)
            lacking += [f"{name}: {' and '.join(missing)}"] if missing else []
        if lacking:
            yield Finding(
                "rights",
                Status.FAIL,
                "not allowed on " + ", ".join(lacking),
                "kafka-acls --add --allow-principal User:NAME --operation Read --operation Write --topic NAME",
            )
        elif untold:
            yield Finding("rights", Status.WARN, "the brokers do not tell what this client may do")
        else:
            yield Finding("rights", Status.OK, f"{counted(len(names), 'topic')} may be read and written")

    def transactions(self) -> Iterator[Finding]:
        identity = self._names.transactional_id("doctor", uuid.uuid4().hex[:12])
        producer = KafkaProducer(self._settings, identity, self._names, Topic.EVENTS)
        try:
            producer.init(_PRODUCER_S)
        finally:
            producer.discard()
        yield Finding("transactions", Status.OK, "a transactional producer may be started")

    def groups(self) -> Iterator[Finding]:
        """Who reads, and whether committed offsets are the workers' own."""
        names = {role: self._names.group(role) for role in (*_GROUPS, "notify")}
        members = group_members(self._admin, list(names.values()))
        for role, name in names.items():
            status, hint = (Status.OK, "") if members[name] else (Status.WARN, f"stagepost run {role}")
            yield Finding("groups", status, f"{name}: {counted(members[name], 'member')}", hint)
        for role, topic in _GROUPS.items():
            committed = self._committed(role, topic)
            moved = [p for p, (offset, metadata) in committed.items() if decode_committed(offset, metadata).seq is None]
            if moved:
                places = ", ".join(map(str, sorted(moved)))
                yield Finding(
                    "offsets",
                    Status.FAIL,
                    f"{names[role]}: moved by hand in {topic} partitions {places}",
                    f"put them back, or: stagepost run {role} --rebuild",
                )

    def state(self) -> Iterator[Finding]:
        """Whether the state topic has the batches that the committed offsets speak of."""
        committed = self._committed("journey", Topic.EVENTS)  # first: workers may go on meanwhile
        newest = self._newest_controls()
        lost = []
        for partition, (offset, metadata) in sorted(committed.items()):
            seq = decode_committed(offset, metadata).seq
            if seq is not None and partition in newest and newest[partition] < seq:
                lost.append(f"{partition} (batch {newest[partition]} of {seq})")
        if lost:
            yield Finding(
                "state",
                Status.FAIL,
                f"Kafka lost committed data: {self._names.full(Topic.STATE)} ends too early in {', '.join(lost)}",
                "restore the topic; or, with the state that is left: stagepost run journey --rebuild",
            )
        elif committed:
            yield Finding(
                "state", Status.OK, f"{counted(len(committed), 'partition')} checked: what was committed last is there"
            )

    def stable_offsets(self) -> Iterator[Finding]:
        """Open transactions that nobody ends: they hold up every committed reader and all compaction."""
        ends = self._ends(_STABLE)
        stuck = {place: end for place, end in ends.items() if end.stable < end.high}
        deadline = time.monotonic() + self._stuck_after_s
        while stuck and time.monotonic() < deadline:
            time.sleep(1.0)
            now = self._ends(_STABLE)
            stuck = {
                place: end
                for place, end in stuck.items()
                if place in now and now[place].stable == end.stable and now[place].stable < now[place].high
            }
        for (name, partition), end in sorted(stuck.items()):
            yield Finding(
                "stable offsets",
                Status.FAIL,
                f"{name}[{partition}]: a transaction has been open since offset {end.stable} (end {end.high})",
                f"kafka-transactions.sh abort --topic {name} --partition {partition} --start-offset {end.stable}",
            )
        if not stuck:
            yield Finding("stable offsets", Status.OK, f"no transaction hangs in {counted(len(ends), 'partition')}")

    def events(self) -> Iterator[Finding]:
        """The newest records of ``email.events``: where they lie, whether they can be read, what providers report."""
        records, partitions = self._sample()
        yield from sample_findings(records, partitions)

    def redis_server(self) -> Iterator[Finding]:
        info: Mapping[str, Any] = self._redis.info()
        yield from redis_findings(info)

    def mirror(self) -> Iterator[Finding]:
        """Whether the mirror is of as many partitions as the input has."""
        known = self._admin.list_topics(timeout=_ASK_S).topics.get(self._names.full(Topic.EVENTS))
        if known is None:
            return
        at = [(p, found) for p in known.partitions if (found := self._mirror.checkpoint(p)) is not None]
        other = [p for p, found in at if found.partitions != len(known.partitions) and found.seq]
        if other:
            yield Finding(
                "mirror",
                Status.FAIL,
                f"written for another number of partitions than {len(known.partitions)}: {', '.join(map(str, other))}",
                f"stagepost repartition --partitions {len(known.partitions)}",
            )
        elif at:
            yield Finding("mirror", Status.OK, f"{len(at)} of {len(known.partitions)} partitions are in Redis")
        else:
            yield Finding("mirror", Status.WARN, "empty: nothing was processed yet, or Redis was lost and is rebuilt")

    def clocks(self) -> Iterator[Finding]:
        before = time.time()
        seconds, micros = self._redis.time()
        middle = (before + time.time()) / 2
        yield skew_finding("Redis", seconds + micros / 1_000_000 - middle)
        newest = self._newest_broker_time()
        age = None if newest is None else time.time() - newest
        if age is None or age > _FRESH_S:
            yield Finding("clocks", Status.WARN, "broker: not told while no journey worker writes to stagepost.state")
        else:
            # A record cannot be younger than now: an age below zero is the broker's lead.
            yield skew_finding("broker", -age if age < 0 else 0.0)

    def _replication(self, specs: Sequence[TopicSpec]) -> Iterator[Finding]:
        known = self._admin.list_topics(timeout=_ASK_S).topics
        few = [
            name
            for name in (*(spec.name for spec in specs), *_INTERNAL)
            if name in known and any(len(p.replicas) < 3 for p in known[name].partitions.values())
        ]
        if few:
            yield Finding(
                "replication",
                Status.WARN,
                f"{len(few)} topics have fewer than 3 copies: one lost disk can lose committed data",
                "three brokers, and kafka-reassign-partitions for topics that exist",
            )

    def _broker_configs(self, broker: int) -> Mapping[str, str | None] | None:
        [future] = self._admin.describe_configs([ConfigResource(ResourceType.BROKER, str(broker))]).values()
        try:
            return {name: entry.value for name, entry in future.result(_ASK_S).items()}
        except KafkaException:
            return None

    def _committed(self, role: str, topic: Topic) -> dict[int, tuple[int, str | None]]:
        name = self._names.full(topic)
        known = self._admin.list_topics(timeout=_ASK_S).topics.get(name)
        if known is None:
            return {}
        offsets = GroupOffsets(self._settings, self._names.group(role))
        try:
            return offsets.of(name, known.partitions, _ASK_S)
        except KafkaException:
            return {}
        finally:
            offsets.close()

    def _ends(self, topics: Collection[Topic]) -> dict[tuple[str, int], Ends]:
        known = self._admin.list_topics(timeout=_ASK_S).topics
        places = [
            TopicPartition(name, partition)
            for topic in topics
            if (name := self._names.full(topic)) in known
            for partition in known[name].partitions
        ]
        if not places:
            return {}
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]

        def ask(isolation: IsolationLevel) -> dict[tuple[str, int], int]:
            answers = self._admin.list_offsets(
                dict.fromkeys(places, latest), isolation_level=isolation, request_timeout=_ASK_S
            )
            return {(place.topic, place.partition): int(future.result().offset) for place, future in answers.items()}

        stable, high = ask(IsolationLevel.READ_COMMITTED), ask(IsolationLevel.READ_UNCOMMITTED)
        return {place: Ends(stable[place], high[place]) for place in stable}

    def _newest_controls(self) -> dict[int, int]:
        """Batch number of the newest control record of each partition of the state topic; 0: there is none."""
        ends = {partition: end for (_, partition), end in self._ends([Topic.STATE]).items() if end.stable == end.high}
        newest = dict.fromkeys(ends, 0)
        # It is the last record of its transaction, and after it comes the mark of the commit.
        for record in self._read(Topic.STATE, {p: max(0, end.stable - 3) for p, end in ends.items()}):
            if record.key == CONTROL_KEY:
                newest[record.partition] = max(newest[record.partition], decode_control(record.value or b"").seq)
        return newest

    def _sample(self) -> tuple[list[Record], int]:
        ends = {partition: end.stable for (_, partition), end in self._ends([Topic.EVENTS]).items()}
        return self._read(Topic.EVENTS, {p: max(0, end - SAMPLE) for p, end in ends.items()}), len(ends)

    def _read(self, topic: Topic, begin: Mapping[int, int]) -> list[Record]:
        """Committed records of some partitions, from an offset of each to its end."""
        name = self._names.full(topic)
        consumer = Consumer({**self._settings, **READER}, logger=_LOGGER)
        records: list[Record] = []
        try:
            consumer.assign([TopicPartition(name, partition, offset) for partition, offset in begin.items()])
            waiting, deadline = set(begin), time.monotonic() + _SAMPLE_S
            while waiting and time.monotonic() < deadline:
                for message in consumer.consume(1_000, 0.1):
                    if message.error() is None:
                        records.append(record_of(message, self._names))
                    else:
                        waiting.discard(message.partition())
        finally:
            consumer.close()
        return records

    def _newest_broker_time(self) -> float | None:
        """Of the state topic, seconds; None where it is empty."""
        known = self._admin.list_topics(timeout=_ASK_S).topics.get(self._names.full(Topic.STATE))
        if known is None:
            return None
        latest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
        places = {TopicPartition(self._names.full(Topic.STATE), p): latest for p in known.partitions}
        found = [f.result().timestamp for f in self._admin.list_offsets(places, request_timeout=_ASK_S).values()]
        newest = max(found, default=-1)
        return None if newest is None or newest < 0 else newest / 1000


_UNREACHABLE = {
    "broker": "start it, or give its address with --kafka or STAGEPOST_KAFKA__BOOTSTRAP_SERVERS, and as "
    "kafka.librdkafka what it asks for (security.protocol, sasl.*)",
    "redis": "start it, or give its address and password with --redis or STAGEPOST_REDIS__URL",
    "transactions": "kafka-acls --add --operation Write --operation Describe --transactional-id PREFIX",
}

# Settings that came with a version, newest first: brokers tell no version of their own.
_CAME_WITH = (
    ("group.share.record.lock.duration.ms", "4.0"),
    ("group.coordinator.rebalance.protocols", "3.7"),
    ("transaction.partition.verification.enable", "3.6"),
)


def broker_findings(configs: Mapping[str, str | None]) -> Iterator[Finding]:
    """Settings of a broker on which delivery depends; those that it does not tell are passed over."""

    def number(name: str, otherwise: int) -> int:
        text = configs.get(name)
        return int(text) if text and text.lstrip("-").isdigit() else otherwise

    found = [
        (
            configs.get("unclean.leader.election.enable") == "true",
            "unclean.leader.election.enable is true: a broker that lags may become leader, and committed data is lost",
            "unclean.leader.election.enable=false",
        ),
        (
            number("transaction.max.timeout.ms", _TRANSACTION_MS) < _TRANSACTION_MS,
            f"transaction.max.timeout.ms is below the {_TRANSACTION_MS} that the roles ask for: none can start",
            f"transaction.max.timeout.ms={_TRANSACTION_MS}, or more",
        ),
        (
            number("group.min.session.timeout.ms", 0) > _SESSION_MS
            or number("group.max.session.timeout.ms", _SESSION_MS) < _SESSION_MS,
            f"the brokers refuse a session timeout of {_SESSION_MS} ms, which the roles ask for",
            "group.min.session.timeout.ms and group.max.session.timeout.ms",
        ),
    ]
    wrong = [Finding("broker settings", Status.FAIL, detail, hint) for is_wrong, detail, hint in found if is_wrong]
    yield from wrong or [Finding("broker settings", Status.OK, "allow what the roles ask for")]


def version_of(configs: Collection[str]) -> str | None:
    """The newest Kafka version known here that a broker with these settings must be of; None: older than 3.6."""
    return next((version for name, version in _CAME_WITH if name in configs), None)


def missing_rights(operations: Collection[AclOperation]) -> list[str]:
    """Which of those that the roles need on the installation's topics are not among ``operations``."""
    wanted = {"read": AclOperation.READ, "write": AclOperation.WRITE, "describe": AclOperation.DESCRIBE}
    return [] if AclOperation.ALL in operations else [name for name, o in wanted.items() if o not in operations]


def redis_findings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """From the answer to INFO."""
    text = str(info.get("redis_version", "0.0"))
    old = too_old("redis", text) is not None
    yield Finding(
        "redis", Status.FAIL if old else Status.OK, f"version {text}", "6.2 or later is needed" if old else ""
    )
    policy = str(info.get("maxmemory_policy", "not told"))
    yield Finding(
        "redis memory",
        Status.OK if policy == "noeviction" else Status.FAIL,
        f"maxmemory-policy {policy}",
        ""
        if policy == "noeviction"
        else "CONFIG SET maxmemory-policy noeviction: keys that vanish make a wrong mirror",
    )
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0) or info.get("total_system_memory", 0))
    if most and used > 0.8 * most:
        yield Finding(
            "redis memory", Status.WARN, f"{used / most:.0%} in use", "raise maxmemory, or use a larger machine"
        )
    kept = bool(info.get("aof_enabled")) or int(info.get("rdb_last_save_time", 0)) > _started(info)
    yield Finding(
        "redis persistence",
        Status.OK if kept else Status.WARN,
        "on" if kept else "nothing was written to disk since it started: after a restart the mirror is rebuilt",
        "" if kept else "appendonly yes",
    )


def _started(info: Mapping[str, Any]) -> int:
    """Unix seconds; right after the start INFO gives the start as the last save."""
    return int(info.get("server_time_usec", 0)) // 1_000_000 - int(info.get("uptime_in_seconds", 0)) + 1


def sample_findings(records: Sequence[Record], partitions: int) -> Iterator[Finding]:
    """From the newest records of ``email.events``."""
    if not records:
        yield Finding("events", Status.WARN, "email.events is empty", "publish one, or: stagepost demo shows how")
        return
    read = [
        (record, read_event(record.value, headers=record.headers, broker_time=record.timestamp)) for record in records
    ]
    good = [(record, each.event) for record, each in read if isinstance(each, Incoming)]
    status = Status.OK if len(good) == len(read) else Status.WARN if good else Status.FAIL
    detail = f"{len(good)} of the newest {len(read)} can be read"
    yield Finding("events", status, detail, "" if status is Status.OK else "stagepost dlq ls email.events.dlq")
    misplaced = sum(
        record.key != event.contact.encode()
        or record.partition != murmur2_partition(event.contact.encode(), partitions)
        for record, event in good
    )
    yield Finding(
        "keys",
        Status.WARN if misplaced else Status.OK,
        f"{misplaced} of {len(good)} lie where their contact does not belong, and are rerouted"
        if misplaced
        else f"{len(good)} lie where murmur2 of their contact puts them",
        "key = contact id, and partitioner=murmur2_random in librdkafka's clients; records from before a repartition "
        "lie where they lay, and are processed already"
        if misplaced
        else "",
    )
    seen: dict[str, Counter[str]] = {}
    for _, event in good:
        if event.provider:
            seen.setdefault(event.provider, Counter())[event.type] += 1
    for provider, types in sorted(seen.items()):
        delivered = types["email.delivered"]
        if types["email.opened"] or types["email.clicked"]:
            yield Finding("tracking", Status.OK, f"{provider}: opens or clicks are reported")
        elif delivered >= _ENOUGH:
            yield Finding(
                "tracking",
                Status.WARN,
                f"{provider}: {delivered} deliveries and neither an open nor a click",
                f"turn open and click tracking on at {provider}, and tick both in its webhook",
            )
        else:
            yield Finding("tracking", Status.OK, f"{provider}: too few deliveries ({delivered}) to tell")


def skew_finding(whose: str, ahead_s: float) -> Finding:
    """``ahead_s``: by how much the clock is ahead of ours."""
    if abs(ahead_s) <= SKEW_S:
        return Finding("clocks", Status.OK, f"{whose}: within {SKEW_S:g} s of this machine")
    where = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "clocks", Status.WARN, f"{whose}: {abs(ahead_s):.1f} s {where} this machine", "run NTP on all of them"
    )
