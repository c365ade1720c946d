"""The one loop that executes ``normalise``, ``journey`` and ``rollup`` (delivery.md 3).

Read a batch, ask the core for Plans, carry them out in one transaction.

The law: one thread polls, computes, commits, and only then polls again, so no rebalance can fall between a batch and
its commit unseen; what a rebalance callback recorded is worked off here, right after the poll that ran it. May not
contain: a client, a decision about a stage or a rate, a state.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from stagepost.edges.errors import Drop, PartitionsChanged, SlowDown, Stop
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.mirror import RedisMirror, connect
from stagepost.edges.ports import ChangeKind, Counters, Log, Mirror
from stagepost.edges.restore import Readers, Restore, RestoreSettings
from stagepost.edges.roles import Status
from stagepost.edges.transactions import Kind, Transactions
from stagepost.edges.watchdog import Watchdog
from stagepost.edges.work import Owned, StatefulWork, StatelessWork, Work
from stagepost.engine.dead_letter_guard import DeadLetterGuard, GuardConfig
from stagepost.engine.plan import DEAD_LETTERS, PartitionPlan, Record, Stateful, Stateless, Topic

_POLL_S = 0.1
"""How long a poll waits for its first record; also how soon a stop is noticed."""

_BUSY_POLL_S = 0.01
"""The same while partitions are in restore, which has work to do between two polls."""

_TICK_S = 1.0
"""Between two looks at an idle partition, at gauges, and at the mirror of an idle partition."""

_CLOSE_S = 3.0
"""For each of mirror, publisher and group when the process ends: together within the 10 s of a clean stop."""


@dataclass(frozen=True, kw_only=True)
class RunnerConfig:
    """What a runner has to be told beside its processor. Plain values; nothing here reads the environment."""

    role: str
    """``normalise``, ``journey`` or ``rollup``: part of group id, transactional id and Redis keys."""
    instance: str
    """Part of the transactional id; unique among living processes."""
    prefix: str = ""
    topics: tuple[Topic, ...] = ()
    """Topics that must exist beside the processor's input and state: its outputs."""
    batch: int = 5000
    piece: int = 500
    """Most contact states in one call to Redis."""
    idle_after_s: float = 30.0
    start_from: str | int = "earliest"
    """Where to begin when nothing was ever committed: ``earliest``, ``latest``, or a time in micros."""
    rebuild: bool = False
    """Accept that an operator moved the committed offset, and process from there on the state as it is."""
    delete_retention_s: float = 3 * 86_400.0
    """``delete.retention.ms`` of the state topic. A mirror older than half of it may have missed a tombstone."""
    transaction_timeout_s: float = 15.0
    max_poll_s: float = 120.0
    """``max.poll.interval.ms``: what the health check calls a loop that no longer turns."""
    guard: GuardConfig = field(default_factory=GuardConfig)
    """When so much is bad that the worker stops rather than diverts the stream."""


def kafka_runner(
    config: RunnerConfig,
    kafka: KafkaSettings,
    redis_url: str,
    processor: Stateless | Stateful,
    counters: Counters,
    failpoint: Callable[[str], None] = lambda name: None,
) -> Runner:
    """A runner on real parts. Connects to nothing before ``run``."""
    log = KafkaLog(kafka, config.role, config.instance, config.prefix, processor.input)
    mirror: Mirror | None = None
    if hasattr(processor, "state"):
        mirror = RedisMirror(connect(redis_url), MirrorKeys.of(config.prefix, config.role), config.piece)
    return Runner(config, processor, log, mirror, counters, failpoint)


@dataclass(eq=False)
class _Restoring:
    """A partition between its assignment and its first batch."""

    steps: Generator[None, None, Owned]
    since: float


@dataclass
class _Undecided:
    """Since when the last stable offset of an input partition stands still below its end."""

    stable: int
    since: float


class Runner:
    """``roles.Role``. ``run`` in one thread; ``stop`` and ``status`` from any."""

    def __init__(
        self,
        config: RunnerConfig,
        processor: Stateless | Stateful,
        log: Log,
        mirror: Mirror | None,
        counters: Counters,
        failpoint: Callable[[str], None] = lambda name: None,
    ) -> None:
        """``mirror`` for a Stateful processor only. ``failpoint`` is called with the name of each step (5)."""
        self._config = config
        self._processor = processor
        self._log_port = log
        self._mirror = mirror
        self._counters = counters
        self._at = failpoint
        self._stop = threading.Event()
        self._polled_at = time.monotonic()
        self._joined = False
        self._running: dict[int, Owned] = {}
        self._restoring: dict[int, _Restoring] = {}
        self._held = False
        self._hurried = False
        """Some partition has more to do than its records."""
        self._transaction = 0
        self._looked_at = 0.0
        self._undecided: dict[int, _Undecided] = {}
        self._guards: dict[int, DeadLetterGuard] = {}
        self._work: Work | None = None
        self._watchdog = Watchdog()
        self._log = structlog.get_logger(__name__).bind(role=config.role, instance=config.instance)

    @property
    def status(self) -> Status:
        """For /livez and /readyz; the first does not depend on Kafka or Redis."""
        reasons: list[str] = []
        if not self._joined:
            reasons.append("no assignment yet")
        if self._restoring:
            reasons.append(f"restoring {len(self._restoring)} partitions")
        if self._work is not None:
            reasons += self._work.not_ready()
        return Status(self._polled_at, self._config.max_poll_s, tuple(reasons))

    def stop(self) -> None:
        """Finish the transaction, apply it, leave the group, return from ``run``. For signal handlers."""
        self._stop.set()

    def run(self) -> None:
        """Work until ``stop``. Raises Stop and its kinds, or what nobody foresaw; no offset was moved then."""
        try:
            self.open()
            self._log.info("runner started")
            while not self._stop.is_set():
                self.turn()
            self._log.info("runner stops")
        finally:
            self.close()

    def open(self) -> None:
        """Check the topics, start the producer, join the group: for ``run``, or for who plays turn by turn."""
        config, processor, log = self._config, self._processor, self._log_port
        state = getattr(processor, "state", None)
        counts = log.partitions([*dict.fromkeys([processor.input, *([state] if state else []), *config.topics])])
        partitions = counts[processor.input]
        if state is not None and counts[state] != partitions:
            raise PartitionsChanged(
                f"{processor.input} has {partitions} partitions, {state} {counts[state]}: they must be as many; "
                "use stagepost repartition"
            )
        self._intake = log.intake(processor.input)
        self._publisher = log.publisher()
        self._work = self._kind_of_work(state, partitions)
        kind = Kind(state, getattr(processor, "codec", 0), f"{config.instance}.{uuid.uuid4().hex[:12]}")
        self._transactions = Transactions(
            log.producer,
            self._intake.committed,
            kind,
            self._counters,
            self._watchdog,
            # Retries of a call end before the broker ends the transaction.
            budget_s=0.6 * config.transaction_timeout_s,
            failpoint=self._at,
            stopping=self._stop.is_set,
        )
        # Before joining the group: what a former process of this name left open ends now and not at its timeout.
        self._transactions.open()

    def _kind_of_work(self, state: Topic | None, partitions: int) -> Work:
        config = self._config
        processor: Any = self._processor
        if state is None:
            return StatelessWork(processor, self._intake, config.start_from)
        mirror = self._mirror
        if mirror is None:
            raise ValueError(f"role {config.role} has state, hence needs a mirror")
        readers = Readers(self._log_port, state)
        settings = RestoreSettings(
            state=state,
            codec=processor.codec,
            partitions=partitions,
            topic_id=self._log_port.topic_id(state),
            start_from=config.start_from,
            rebuild=config.rebuild,
            all_states=processor.announces,
            max_age_us=int(config.delete_retention_s / 2 * 1_000_000),
            stuck_after_s=config.transaction_timeout_s + 15,
        )

        def restore(partition: int) -> Restore:
            return Restore(
                partition,
                settings,
                self._log_port,
                self._intake,
                mirror,
                readers,
                due_of=processor.due,
                new_nonce=lambda: uuid.uuid4().hex,
                wall_us=_wall_us,
                failpoint=self._at,
                forgets=processor.forgets,
            )

        return StatefulWork(processor, mirror, self._counters, restore, readers, _wall_us, partitions, self._at)

    def turn(self) -> None:
        """One poll, and all that follows from it."""
        assert self._work is not None
        self._hold_back(self._work.full())
        busy = self._restoring or self._held or self._hurried
        records = self._intake.poll(self._config.batch, _BUSY_POLL_S if busy else _POLL_S)
        self._polled_at = now = time.monotonic()
        self._take_changes(now)
        batches = self._sorted_out(records, now)
        if batches:
            self._at("after_consume")
        self._advance_restores()
        look = now - self._looked_at >= _TICK_S
        idle = self._idle(now) if look and not self._held else []
        pending = [] if self._held else [owned for owned in self._running.values() if self._work.pending(owned)]
        self._hurried = bool(pending)
        if batches or idle or pending:
            self._carry_out(batches, idle, pending, now)
        for owned, reason in self._work.refused():
            if self._running.get(owned.number) is owned:
                self._counters.add({("mirror_refusals_total", reason): 1})
                self._again(owned, reason)
        if look:
            self._looked_at = now
            self._measure(now)
            for owned in idle:
                if self._running.get(owned.number) is owned and self._work.idles:
                    self._work.compare(owned)

    def _hold_back(self, full: bool) -> None:
        """While the mirror cannot follow, records stay in Kafka; the group sees us poll."""
        if full == self._held:
            return
        self._held = full
        if full:
            self._intake.hold(self._running)
        else:
            self._intake.release(self._running)

    def _take_changes(self, now: float) -> None:
        for change in self._intake.changes():
            self._counters.add({("rebalances_total",): 1})
            self._log.info("assignment changed", kind=change.kind, partitions=list(change.partitions))
            if change.kind is ChangeKind.ASSIGNED:
                self._joined = True
                for partition in change.partitions:
                    self._begin_restore(partition, now)
                continue
            self._at("in_revoke")
            self._joined = False
            for partition in change.partitions:
                self._give_up(partition)

    def _begin_restore(self, partition: int, now: float) -> None:
        assert self._work is not None
        self._give_up(partition)
        self._restoring[partition] = _Restoring(self._work.restore(partition), now)

    def _give_up(self, partition: int) -> None:
        """Forget a partition: what was cached for it is dropped, what is queued for the mirror may still get there."""
        assert self._work is not None
        owned = self._running.pop(partition, None)
        restoring = self._restoring.pop(partition, None)
        if restoring is not None:
            restoring.steps.close()
        if owned is not None:
            self._work.released(owned)
        self._undecided.pop(partition, None)
        self._guards.pop(partition, None)
        labels = (self._processor.input, str(partition))
        for name in ("consumer_lag_records", "consumer_lag_seconds", "last_record_processed_timestamp_seconds"):
            self._counters.forget(name, *labels)
        for name in ("stable_offset_lag_records", "stable_offset_age_seconds"):
            self._counters.forget(name, *labels)
        self._counters.forget("mirror_staleness_seconds", str(partition))

    def _again(self, owned: Owned, reason: str) -> None:
        """R: the partition is ours, but has to be restored before its next batch."""
        self._log.warning("partition is restored again", partition=owned.number, reason=reason)
        self._intake.halt(owned.number)
        self._begin_restore(owned.number, time.monotonic())

    def _advance_restores(self) -> None:
        assert self._work is not None
        for partition, restoring in list(self._restoring.items()):
            try:
                next(restoring.steps)
                continue
            except StopIteration as finished:
                owned: Owned = finished.value
            self._intake.start(partition, owned.next_offset)
            del self._restoring[partition]
            now = time.monotonic()
            owned.active_at = now
            self._running[partition] = owned
            if self._held:
                self._intake.hold([partition])
            self._publisher.publish(owned.announcements)
            self._counters.observe("restore_duration_seconds", now - restoring.since)
            self._log.info(
                "partition ready",
                partition=partition,
                seq=owned.seq,
                offset=owned.next_offset,
                duration_s=round(now - restoring.since, 3),
            )
            if not self._restoring:
                self._work.settled()

    def _sorted_out(self, records: Sequence[Record], now: float) -> dict[int, list[Record]]:
        """Records by partition, of those that run and from where each goes on."""
        batches: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            owned = self._running.get(record.partition)
            if owned is not None and record.offset >= owned.next_offset:
                batches[record.partition].append(record)
        for partition, batch in batches.items():
            owned = self._running[partition]
            owned.active_at = now
            owned.saw(batch[-1].timestamp, now)
        return batches

    def _idle(self, now: float) -> list[Owned]:
        """Partitions that have had no record for a while and have none waiting, undecided ones included.

        One that never had any takes the broker's time from the others: without a clock it would hold every watermark.
        """
        assert self._work is not None
        if not self._work.idles:
            return []
        idle = [
            owned
            for owned in self._running.values()
            if now - owned.active_at >= self._config.idle_after_s
            and self._intake.lag(owned.number, owned.next_offset) == 0
        ]
        known = max((owned.now_us(now) for owned in self._running.values() if owned.broker_us), default=0)
        for owned in idle:
            if not owned.broker_us:
                owned.saw(known, now)
        return [owned for owned in idle if owned.broker_us]

    def _carry_out(
        self, batches: dict[int, list[Record]], idle: Sequence[Owned], pending: Sequence[Owned], began: float
    ) -> None:
        """N: one transaction over all partitions that have something to do."""
        assert self._work is not None
        try:
            member = self._intake.membership()
            plans = [plan for partition, batch in batches.items() if (plan := self._plan(partition, batch)) is not None]
            for owned in idle:
                if owned.number not in batches and (plan := self._tick(owned, owned.now_us(began))) is not None:
                    plans.append(plan)
            for owned in pending:
                if owned.number in batches or owned in idle:
                    continue
                if (plan := self._tick(owned, None)) is not None:
                    plans.append(plan)
            self._at("after_read")
            if not plans:
                return
            written = self._transactions.carry_out(plans, member)
        except Drop as error:
            self._log.warning("batch dropped", reason=str(error))
            for owned in list(self._running.values()):
                self._again(owned, "the group has moved on")
            return
        self._transaction += 1
        for plan in plans:
            self._work.committed(self._running[plan.partition], plan, written[plan.partition], self._transaction)
            self._counters.add(plan.counts)
            self._tell(plan)
            if plan.after:
                self._publisher.publish(plan.after)
        self._counters.observe("batch_records", sum(map(len, batches.values())))
        self._counters.observe("batch_duration_seconds", time.monotonic() - began)

    def _plan(self, partition: int, batch: Sequence[Record]) -> PartitionPlan | None:
        assert self._work is not None
        owned = self._running[partition]
        try:
            plan = self._work.plan(owned, batch, batch[-1].offset + 1, None)
        except SlowDown as error:
            self._again(owned, str(error))
            return None
        if plan is None:
            raise AssertionError(f"no Plan for {len(batch)} records of partition {partition}: they would be lost")
        self._watch_dead_letters(plan, len(batch))
        return plan

    def _watch_dead_letters(self, plan: PartitionPlan, records: int) -> None:
        guard = self._guards.setdefault(plan.partition, DeadLetterGuard(self._config.guard))
        why = guard.too_many(records, sum(emit.topic in DEAD_LETTERS for emit in plan.emits))
        if why is not None:
            raise Stop(
                f"partition {plan.partition} of {self._processor.input}: {why}. Nothing more is diverted until "
                "somebody has looked: stagepost dlq ls; if all is as it should be, raise engine.dead_letter_share"
            )

    def _tick(self, owned: Owned, now_us: int | None) -> PartitionPlan | None:
        """A batch without records; ``now_us``: where the clock of an idle partition goes."""
        assert self._work is not None
        try:
            return self._work.plan(owned, (), owned.next_offset, now_us)
        except SlowDown as error:
            self._again(owned, str(error))
            return None

    def _tell(self, plan: PartitionPlan) -> None:
        """Gauges and delays of a committed Plan."""
        for (name, *labels), value in plan.gauges.items():
            self._counters.set(name, value, *labels)
        for name, delays in plan.delays.items():
            for delay_s in delays:
                self._counters.observe(name, delay_s)
        now_us = _wall_us() if plan.caused_at else 0
        for at in plan.caused_at:
            self._counters.observe("event_to_transition_seconds", max(0.0, (now_us - at) / 1_000_000))

    def _measure(self, now: float) -> None:
        assert self._work is not None
        counters, topic = self._counters, self._processor.input
        counters.set("assigned_partitions", len(self._running) + len(self._restoring))
        for owned in self._running.values():
            label = str(owned.number)
            lag = self._intake.lag(owned.number, owned.next_offset)
            behind_s = 0.0 if lag == 0 else -1.0
            if lag and owned.broker_us:
                behind_s = max(0.0, (_wall_us() - owned.broker_us) / 1_000_000)
            counters.set("consumer_lag_records", -1 if lag is None else lag, topic, label)
            counters.set("consumer_lag_seconds", behind_s, topic, label)
            if owned.broker_us:
                counters.set("last_record_processed_timestamp_seconds", owned.broker_us / 1_000_000, topic, label)
            if self._work.idles:
                counters.set("mirror_staleness_seconds", self._work.staleness_s(owned, now), label)
            self._measure_undecided(owned, now)

    def _measure_undecided(self, owned: Owned, now: float) -> None:
        """High watermark minus last stable offset: a hanging transaction shows here (KIP-664)."""
        undecided = self._intake.undecided(owned.number, owned.next_offset)
        seen = self._undecided.get(owned.number)
        if undecided is None:
            self._undecided.pop(owned.number, None)
        elif seen is None or seen.stable != undecided.stable:
            self._undecided[owned.number] = seen = _Undecided(undecided.stable, now)
        labels = (self._processor.input, str(owned.number))
        self._counters.set(
            "stable_offset_lag_records", 0 if undecided is None else undecided.high - undecided.stable, *labels
        )
        self._counters.set(
            "stable_offset_age_seconds", 0.0 if undecided is None or seen is None else now - seen.since, *labels
        )

    def close(self) -> None:
        """Apply what was committed, leave the group. Whatever hangs is left behind: the process is about to end."""
        if self._work is not None:
            self._work.close(_CLOSE_S)
        if hasattr(self, "_transactions"):
            self._transactions.close()
        if hasattr(self, "_publisher"):
            left = self._publisher.flush(_CLOSE_S)
            if left:
                self._log.warning("records not published; the next owner publishes them again", count=left)
        if hasattr(self, "_intake"):
            closing = threading.Thread(target=self._intake.close, name="leave-group", daemon=True)
            closing.start()
            closing.join(_CLOSE_S)
        self._watchdog.close()


def _wall_us() -> int:
    return time.time_ns() // 1000
