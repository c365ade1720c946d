"""The one loop that executes ``normalise``, ``journey`` and ``rollup`` (delivery.md 3).

Read a batch, ask the core for Plans, carry them out in one transaction.

The law: one thread polls, computes, commits, and only then polls again, so no rebalance can fall between a batch and
its commit unseen; what a rebalance callback recorded is worked off here, right after the poll that ran it. May not
contain: a client, a decision about a stage or a rate, a state.
"""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from stagepost.edges.applier import Applier
from stagepost.edges.clock import REAL, Clock
from stagepost.edges.errors import Drop, EdgeError, PartitionsChanged, Refused, SlowDown, Stop, Unfit
from stagepost.edges.kafka_log import KafkaLog, KafkaSettings
from stagepost.edges.keys import MirrorKeys
from stagepost.edges.mirror import RedisMirror, connect
from stagepost.edges.ports import ChangeKind, Counters, Log, Membership, Mirror
from stagepost.edges.restore import Readers, Restore, RestoreSettings, refuse_other_count
from stagepost.edges.retelling import Retelling
from stagepost.edges.roles import Status
from stagepost.edges.transactions import ATTEMPTS, DIVISIBLE_ATTEMPTS, Kind, Transactions, Written
from stagepost.edges.versions import require_librdkafka
from stagepost.edges.watchdog import Watchdog
from stagepost.edges.work import MirrorRefused, NewApplier, Owned, StatefulWork, StatelessWork, Work
from stagepost.engine.attempts import Care, after_commit, after_refusal, attempt, unfit
from stagepost.engine.dead_letter_guard import DeadLetterGuard, GuardConfig
from stagepost.engine.dead_letters import offset_of, reason_of
from stagepost.engine.plan import DEAD_LETTERS, PartitionPlan, Record, Stateful, Stateless, Topic

_POLL_S = 0.1
"""How long a poll waits for its first record; also how soon a stop is noticed."""

_BUSY_POLL_S = 0.01
"""The same while partitions are in restore, which has work to do between two polls."""

_TICK_S = 1.0
"""Between two looks at an idle partition, at gauges, and at the mirror of an idle partition."""

_AT_END_S = 10.0
"""How long the word of a broker that a partition has no more records is believed, and its clock goes on."""

_AT_END_ASK_S = 0.3
"""For that word."""

_UNPOLLED = 0.2
"""Share of ``max.poll.interval.ms`` after which no further transaction is begun before the next poll (V)."""

_TELL_AGAIN_S = 60.0
"""Between two log lines about contacts that move too often, or clocks that jump: a metric has each."""

_CLOCK_JUMP_S = 60.0
"""Broker time that goes back by more than this, or is as far ahead of this machine's: one of the clocks is wrong, and
timers fire by the broker's. Machines that ask for the time differ by milliseconds."""

_STUCK_S = 15.0
"""Beyond the timeout of transactions, until the broker has ended any whose owner died."""

_RESTORE_PAUSE_S = 0.5
"""Before a partition is restored for the same reason as before: while Redis is full, say."""

_RESTORE_TURN_S = 1.0
"""Of one turn, for steps of restores."""

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
    """``delete.retention.ms`` of the state topic as it is made; a shorter one there counts. A mirror older than half of
    it may have missed a tombstone."""
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
    mirror: Mirror | None = None,
) -> Runner:
    """A runner on real parts, with ``mirror`` in place of Redis if given. Connects to nothing before ``run``. Raises
    Outdated."""
    require_librdkafka()

    def new_log() -> KafkaLog:
        return KafkaLog(kafka, config.role, config.instance, config.prefix, processor.input)

    if mirror is None:
        mirror = RedisMirror(connect(redis_url), MirrorKeys.of(config.prefix, config.role), config.piece)
    retelling = Retelling(new_log, mirror) if Topic.TRANSITIONS in config.topics else None
    return Runner(config, processor, new_log(), mirror, counters, failpoint, retelling)


@dataclass(eq=False)
class _Restoring:
    """A partition between its assignment and its first batch."""

    steps: Generator[None, None, Owned]
    since: float
    not_before: float = 0.0
    """Our own time of the first step."""


@dataclass
class _Round:
    """What one transaction is to carry out: records by partition, and partitions without any to be ticked."""

    batches: dict[int, list[Record]]
    ticks: dict[int, int | None]
    """Where the clock of each goes, micros; None: nowhere."""

    def __len__(self) -> int:
        return sum(map(len, self.batches.values())) + len(self.ticks)


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
        retelling: Retelling | None = None,
        clock: Clock = REAL,
        new_applier: NewApplier = Applier,
        watchdog: Watchdog | None = None,
    ) -> None:
        """A Stateless processor can do without ``mirror``. ``failpoint`` is called with the name of each step (5).

        Who plays turn by turn brings a clock of its own, and an applier and a watchdog without threads.
        """
        self._config = config
        self._processor = processor
        self._log_port = log
        self._mirror = mirror
        self._counters = counters
        self._at = failpoint
        self._retelling = retelling
        self._clock = clock
        self._new_applier = new_applier
        self._stop = threading.Event()
        self._polled_at = self._clock.monotonic()
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
        self._writer = f"{config.instance}.{uuid.uuid4().hex[:12]}"
        self._gauges: frozenset[tuple[str, ...]] = frozenset()
        """Sums over the partitions that were told last."""
        self._hot, self._hot_told_at = 0, -_TELL_AGAIN_S
        self._clock_told_at = -_TELL_AGAIN_S
        self._work: Work | None = None
        self._watchdog = watchdog or Watchdog()
        self._log = structlog.get_logger(__name__).bind(role=config.role, instance=config.instance)

    @property
    def status(self) -> Status:
        """For /livez and /readyz; the first does not depend on Kafka or Redis."""
        reasons: list[str] = []
        if not self._joined:
            reasons.append("no assignment yet")
        if self._restoring:
            reasons.append(f"restoring {len(self._restoring)} partitions")
        if hasattr(self, "_transactions") and self._transactions.waiting:
            reasons.append("Kafka does not answer (setting kafka.bootstrap_servers)")
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
        beside = [topic for topic in (state, Topic.CONTACTS) if topic in counts] if state is not None else []
        for topic in beside:
            if counts[topic] != partitions:
                raise PartitionsChanged(
                    f"{processor.input} has {partitions} partitions, {topic} {counts[topic]}: they must be as many; "
                    "use stagepost repartition"
                )
        self._intake = log.intake(processor.input)
        self._publisher = log.publisher()
        self._work = self._kind_of_work(state, partitions)
        kind = Kind(state, getattr(processor, "codec", 0), self._writer, partitions)
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
            clock=self._clock,
        )
        # Before joining the group: what a former process of this name left open ends now and not at its timeout.
        self._transactions.open()

    def _kind_of_work(self, state: Topic | None, partitions: int) -> Work:
        config = self._config
        processor: Any = self._processor
        if state is None:
            return StatelessWork(
                processor,
                self._intake,
                config.start_from,
                self._mirror,
                self._writer,
                stuck_after_s=config.transaction_timeout_s + _STUCK_S,
                rebuild=config.rebuild,
                clock=self._clock,
            )
        mirror = self._mirror
        if mirror is None:
            raise ValueError(f"role {config.role} has state, hence needs a mirror")
        readers = Readers(self._log_port, state)
        topic_id = self._log_port.topic_id(state)
        self._refuse_other_count(mirror, topic_id, partitions)
        stay_s = self._log_port.tombstones_stay_s(state)
        stay_s = config.delete_retention_s if stay_s is None else min(stay_s, config.delete_retention_s)
        settings = RestoreSettings(
            state=state,
            codec=processor.codec,
            partitions=partitions,
            topic_id=topic_id,
            start_from=config.start_from,
            rebuild=config.rebuild,
            all_states=processor.announces,
            max_age_us=int(stay_s / 2 * 1_000_000),
            stuck_after_s=config.transaction_timeout_s + _STUCK_S,
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
                failpoint=self._at,
                clock=self._clock,
                forgets=processor.forgets,
            )

        return StatefulWork(
            processor,
            mirror,
            self._counters,
            restore,
            readers,
            partitions,
            self._writer,
            self._at,
            self._clock,
            self._new_applier,
        )

    def _refuse_other_count(self, mirror: Mirror, topic_id: str, partitions: int) -> None:
        """Any partition's checkpoint tells for how many it was written: one that was added by hand has none itself."""
        try:
            for number in range(partitions):
                at = mirror.checkpoint(number)
                if at is not None and at.topic_id == topic_id:
                    refuse_other_count(at.partitions, partitions)
        except SlowDown as error:
            self._log.info("the number of partitions is looked at with each of them", reason=str(error))

    def turn(self) -> None:
        """One poll, and all that follows from it."""
        assert self._work is not None
        self._hold_back(self._work.full())
        busy = self._restoring or self._held or self._hurried
        records = self._intake.poll(self._config.batch, _BUSY_POLL_S if busy else _POLL_S)
        self._polled_at = now = self._clock.monotonic()
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
            self._publisher.publish(())
            self._measure(now)
            if not self._held:
                self._look_at_mirror(now)

    def _look_at_mirror(self, now: float) -> None:
        """Idle partitions find out by themselves that it was emptied or rolled back; busy ones with every batch."""
        assert self._work is not None
        for owned in self._running.values():
            if now - owned.active_at >= _TICK_S:
                self._work.compare(owned)
            try:
                self._work.survey(owned)
            except SlowDown as error:
                self._log.debug("survey waits", partition=owned.number, reason=str(error))

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
                self._forget_figures(partition)

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

    def _forget_figures(self, partition: int) -> None:
        """Of a partition that is no longer ours. One that is restored again keeps its own: alerts look at them then."""
        labels = (self._processor.input, str(partition))
        for name in ("consumer_lag_records", "consumer_lag_seconds", "last_record_processed_timestamp_seconds"):
            self._counters.forget(name, *labels)
        for name in ("stable_offset_lag_records", "stable_offset_age_seconds"):
            self._counters.forget(name, *labels)
        self._counters.forget("mirror_staleness_seconds", str(partition))

    def _again(self, owned: Owned, reason: str) -> None:
        """R: the partition is ours, but has to be restored before its next batch."""
        now = self._clock.monotonic()
        self._log.warning("partition is restored again", partition=owned.number, reason=reason)
        self._intake.halt(owned.number)
        self._begin_restore(owned.number, now)
        if owned.fresh:  # no batch was carried out since the last time, so the reason is likely to last
            self._restoring[owned.number].not_before = now + _RESTORE_PAUSE_S

    def _advance_restores(self) -> None:
        """A step of each. While brokers do not answer a step may take its second: then the others come next time, so
        that the group sees us poll."""
        assert self._work is not None
        began = self._clock.monotonic()
        for partition, restoring in list(self._restoring.items()):
            if self._clock.monotonic() - began >= _RESTORE_TURN_S:
                return
            if began < restoring.not_before:
                continue
            self._restoring[partition] = self._restoring.pop(partition)
            try:
                next(restoring.steps)
                continue
            except StopIteration as finished:
                owned: Owned = finished.value
            self._intake.start(partition, owned.next_offset)
            del self._restoring[partition]
            now = self._clock.monotonic()
            owned.active_at = now
            self._running[partition] = owned
            if self._held:
                self._intake.hold([partition])
            self._publisher.publish(owned.announcements)
            if owned.care is not None:
                self._log.warning(
                    "a process ended over the next batch",
                    partition=partition,
                    offset=owned.next_offset,
                    count=owned.care.deaths,
                    records=owned.care.limit,
                )
            if self._retelling is not None and owned.checkpoint is not None:
                self._retelling.want(partition, owned.checkpoint)
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
            self._check_clock(owned, batch[-1].timestamp, now)
            owned.saw(batch[-1].timestamp, now)
            owned.record_us = max(owned.record_us, batch[-1].timestamp)
        return batches

    def _check_clock(self, owned: Owned, broker_us: int, now: float) -> None:
        """Alarm where the broker's time jumps. The partition's clock follows it forwards, and never goes back."""
        jump = int(_CLOCK_JUMP_S * 1_000_000)
        if broker_us < owned.record_us - jump:
            kind, by_us = "back", owned.record_us - broker_us
        elif broker_us > self._clock.wall_us() + jump:
            kind, by_us = "ahead", broker_us - self._clock.wall_us()
        else:
            return
        self._counters.add({("clock_jumps_total", kind): 1})
        if now - self._clock_told_at >= _TELL_AGAIN_S:
            self._clock_told_at = now
            self._log.warning(
                "broker time jumped", partition=owned.number, state=kind, duration_s=round(by_us / 1_000_000, 1)
            )

    def _idle(self, now: float) -> list[Owned]:
        """Partitions that have had no record for a while and have none waiting, undecided ones included.

        One that never had any takes the broker's time from the others: without a clock it would hold every watermark.
        """
        assert self._work is not None
        if not self._work.idles:
            return []
        idle = [owned for owned in self._running.values() if self._is_idle(owned, now) and self._at_end(owned, now)]
        known = max((owned.now_us(now) for owned in self._running.values() if owned.broker_us), default=0)
        for owned in idle:
            if not owned.broker_us:
                owned.saw(known, now)
        return [owned for owned in idle if owned.broker_us]

    def _at_end(self, owned: Owned, now: float) -> bool:
        """Whether the broker says so: a leader that only we do not reach may have what keeps a timer from firing."""
        if now >= owned.ask_at and self._clock.monotonic() - now < _TICK_S:
            is_end = self._intake.at_end(owned.number, owned.next_offset, _AT_END_ASK_S)
            owned.ask_at = now + (_AT_END_S if is_end else _AT_END_S / 2)
            owned.at_end_until = owned.ask_at if is_end else now
        return now < owned.at_end_until

    def _is_idle(self, owned: Owned, now: float) -> bool:
        return (
            now - owned.active_at >= self._config.idle_after_s
            and self._intake.lag(owned.number, owned.next_offset) == 0
        )

    def _carry_out(
        self, batches: dict[int, list[Record]], idle: Sequence[Owned], pending: Sequence[Owned], began: float
    ) -> None:
        """N: transactions, nearly always one, over all partitions that have something to do."""
        ticks: dict[int, int | None] = {owned.number: None for owned in pending}
        ticks.update((owned.number, owned.now_us(began)) for owned in idle)
        todo = _Round(batches, {number: clock for number, clock in ticks.items() if number not in batches})
        owners = {number: self._running[number] for number in (*todo.batches, *todo.ticks)}
        try:
            member = self._intake.membership()
            while True:
                todo = _Round(
                    {number: records for number, records in todo.batches.items() if self._is_ours(owners[number])},
                    {number: clock for number, clock in todo.ticks.items() if self._is_ours(owners[number])},
                )
                if not todo:
                    return
                done = self._one_transaction(todo, member)
                for number, count in done.items():
                    if number in todo.ticks:
                        todo.ticks.pop(number)
                    elif count == len(todo.batches[number]):
                        del todo.batches[number]
                    else:
                        todo.batches[number] = todo.batches[number][count:]
                if self._clock.monotonic() - self._polled_at > _UNPOLLED * self._config.max_poll_s:
                    # The group waits for our poll in a rebalance: the rest is read again, with the same care.
                    for number in todo.batches.keys() & self._running.keys():
                        self._intake.start(number, self._running[number].next_offset)
                    return
        except Drop as error:
            self._log.warning("batch dropped", reason=str(error))
            for owned in list(self._running.values()):
                self._again(owned, "the group has moved on")
        except EdgeError:
            # The process is about to end, and not over what was computed.
            for owned in owners.values():
                if owned.begun:
                    self._work_of().end(owned)
            raise

    def _is_ours(self, owned: Owned) -> bool:
        return self._running.get(owned.number) is owned

    def _work_of(self) -> Work:
        assert self._work is not None
        return self._work

    def _one_transaction(self, todo: _Round, member: Membership) -> Mapping[int, int]:
        """Try some of it; returns how many records of each partition are done with. None need be, where more timers are
        due than go into a batch."""
        began = self._clock.monotonic()
        chosen = self._chosen(todo)
        plans = self._plans(chosen)
        self._at("after_read")
        taken = {**chosen.batches, **{p.partition: _taken(p, chosen.batches.get(p.partition, [])) for p in plans}}
        done = {number: len(taken.get(number, ())) for number in (*chosen.batches, *chosen.ticks)}
        if not plans:
            return done
        try:
            attempts = ATTEMPTS if len(chosen) == 1 else DIVISIBLE_ATTEMPTS
            written = self._transactions.carry_out(plans, member, attempts)
        except Refused as error:
            planned = {plan.partition for plan in plans}  # others are restored, or had nothing to do
            tried = _Round(
                {number: taken[number] for number in chosen.batches if number in planned and taken[number]},
                {number: chosen.ticks.get(number) for number in planned if not taken[number]},
            )
            self._suspect(tried, plans, error)
            return {}
        self._follow(plans, written)
        self._counters.observe("batch_records", sum(done.values()))
        self._counters.observe("batch_duration_seconds", self._clock.monotonic() - began)
        return done

    def _chosen(self, todo: _Round) -> _Round:
        """Everything; or, while a bad record is looked for in a partition, a part of that partition alone."""
        for number, records in todo.batches.items():
            care = self._running[number].care
            if care is not None and care.limit is not None:
                return _Round({number: records[: care.limit]}, {})
        return todo

    def _plans(self, chosen: _Round) -> list[PartitionPlan]:
        """Of partitions that are still ours afterwards."""
        plans: dict[int, PartitionPlan] = {}
        owners = [self._running[number] for number in chosen.batches]
        for number, records in chosen.batches.items():
            if (plan := self._plan(number, records)) is not None:
                plans[number] = plan
        for number, clock in chosen.ticks.items():
            if (plan := self._tick(self._running[number], clock)) is not None:
                plans[number] = plan
        for owned in owners:
            if owned.begun:
                self._work_of().end(owned)
        return list(plans.values())

    def _suspect(self, chosen: _Round, plans: Sequence[PartitionPlan], error: Refused) -> None:
        """A: what was refused as a whole is tried partition by partition, then in halves, until a record is alone."""
        self._log.warning("a batch is refused", records=len(chosen), reason=str(error))
        for plan in plans:
            if plan.partition in chosen.batches:  # a tick took nothing in
                self._guards[plan.partition].take_back()
        if len(chosen) == 1 or not chosen.batches:
            self._condemn(chosen, error)
            return
        whole = len(chosen.batches) + len(chosen.ticks) > 1
        for number, records in chosen.batches.items():
            end = records[-1].offset + 1
            care = Care(until=end, limit=len(records)) if whole else after_refusal(len(records), end)
            self._running[number].care = care

    def _condemn(self, chosen: _Round, error: Refused) -> None:
        """The last record that is left is a dead letter, if the reason lies in it; else a person has to look."""
        cause = error.__cause__
        for number, [record] in chosen.batches.items():
            owned = self._running[number]
            if isinstance(cause, Unfit) and owned.condemned is None:
                owned.condemned = unfit(too_large=cause.too_large)
                self._log.warning("a record is set aside", partition=number, offset=record.offset, reason=str(cause))
                return
        raise Stop(str(error)) from error

    def _follow(self, plans: Sequence[PartitionPlan], written: Mapping[int, Written]) -> None:
        """N8."""
        self._transaction += 1
        for plan in plans:
            owned = self._running[plan.partition]
            before = owned.next_offset
            self._work_of().committed(owned, plan, written[plan.partition], self._transaction)
            if plan.next_offset > before:
                owned.care = None if owned.condemned is not None else after_commit(owned.care, plan.next_offset)
                owned.condemned, owned.fresh = None, False
            self._counters.add(plan.counts)
            self._tell(plan)
            if plan.after:
                self._publisher.publish(plan.after)

    def _plan(self, partition: int, batch: list[Record]) -> PartitionPlan | None:
        work, owned, end = self._work_of(), self._running[partition], batch[-1].offset + 1
        try:
            if owned.fresh or (owned.care is not None and owned.care.deaths):
                work.begin(owned, attempt(owned.care, owned.next_offset, len(batch), end))
            if owned.condemned is not None:
                return self._watched(work.refuse(owned, batch[0], owned.condemned), batch[:1])
            plan = work.plan(owned, batch, end, None)
        except SlowDown as error:
            self._restored_because(owned, error)
            return None
        if plan is None:
            raise AssertionError(f"no Plan for {len(batch)} records of partition {partition}: they would be lost")
        return self._watched(plan, _taken(plan, batch))

    def _restored_because(self, owned: Owned, error: SlowDown) -> None:
        if isinstance(error, MirrorRefused):
            self._counters.add({("mirror_refusals_total", error.kind): 1})
        self._again(owned, str(error))

    def _watched(self, plan: PartitionPlan, batch: Sequence[Record]) -> PartitionPlan:
        guard = self._guards.setdefault(plan.partition, DeadLetterGuard(self._config.guard))
        letters = [emit for emit in plan.emits if emit.topic in DEAD_LETTERS]
        dead = {offset_of(letter) for letter in letters}
        places = [place for place, record in enumerate(batch) if record.offset in dead] if dead else ()
        why = guard.too_many(len(batch), places)
        if why is not None:
            last = max(letters, key=offset_of)
            raise Stop(
                f"partition {plan.partition} of {self._processor.input}: {why}; the last at offset {offset_of(last)}, "
                f"{reason_of(last)}. This batch is not diverted, nor what comes behind it, until somebody has looked "
                "at the input (earlier ones: stagepost dlq ls); if all is as it should be, raise "
                "engine.dead_letter_share or engine.dead_letter_run"
            )
        return plan

    def _tick(self, owned: Owned, now_us: int | None) -> PartitionPlan | None:
        """A batch without records; ``now_us``: where the clock of an idle partition goes."""
        assert self._work is not None
        try:
            return self._work.plan(owned, (), owned.next_offset, now_us)
        except SlowDown as error:
            self._restored_because(owned, error)
            return None

    def _tell(self, plan: PartitionPlan) -> None:
        """Gauges and delays of a committed Plan."""
        for (name, *labels), value in plan.gauges.items():
            self._counters.set(name, value, *labels)
        if hot := plan.counts.get(("hot_contacts_total",), 0):
            self._tell_hot(plan.partition, hot)
        for name, delays in plan.delays.items():
            for delay_s in delays:
                self._counters.observe(name, delay_s)
        now_us = self._clock.wall_us() if plan.caused_at else 0
        for at in plan.caused_at:
            self._counters.observe("event_to_transition_seconds", max(0.0, (now_us - at) / 1_000_000))

    def _tell_hot(self, partition: int, contacts: int) -> None:
        self._hot += contacts
        now = self._clock.monotonic()
        if now - self._hot_told_at >= _TELL_AGAIN_S:
            self._log.warning("contacts move unusually often", partition=partition, contacts=self._hot)
            self._hot, self._hot_told_at = 0, now

    def _measure(self, now: float) -> None:
        assert self._work is not None
        counters, topic = self._counters, self._processor.input
        counters.set("assigned_partitions", len(self._running) + len(self._restoring))
        for owned in self._running.values():
            label = str(owned.number)
            lag = self._intake.lag(owned.number, owned.next_offset)
            behind_s = 0.0 if lag == 0 else -1.0
            if lag and owned.record_us:
                behind_s = max(0.0, (self._clock.wall_us() - owned.record_us) / 1_000_000)
            counters.set("consumer_lag_records", -1 if lag is None else lag, topic, label)
            counters.set("consumer_lag_seconds", behind_s, topic, label)
            if owned.record_us:
                counters.set("last_record_processed_timestamp_seconds", owned.record_us / 1_000_000, topic, label)
            if self._work.idles:
                counters.set("mirror_staleness_seconds", self._work.staleness_s(owned, now), label)
            self._measure_undecided(owned, now)
        if self._work.idles:
            for partition, restoring in self._restoring.items():
                counters.set("mirror_staleness_seconds", now - restoring.since, str(partition))
        self._sum_up(now)

    def _sum_up(self, now: float) -> None:
        """Figures that the partitions have: their sums. One that not every partition can tell is not told."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        known: list[set[str]] = []
        for owned in self._running.values():
            clock = owned.now_us(now) if owned.broker_us and self._is_idle(owned, now) else None
            found = self._work_of().gauges(owned, clock)
            known.append({name for name, *_ in found})
            for key, value in found.items():
                sums[key] += value
        told = frozenset(key for key in sums if all(key[0] in names for names in known))
        for key in told:
            self._counters.set(key[0], sums[key], *key[1:])
        for name, *labels in self._gauges - told:
            if labels:
                self._counters.forget(name, *labels)
            else:
                self._counters.set(name, 0.0)
        self._gauges = told

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
        if self._retelling is not None:
            self._retelling.close()
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


def _taken(plan: PartitionPlan, batch: list[Record]) -> list[Record]:
    """The records of a batch that a Plan is done with: the first ones, and nearly always all."""
    if batch and plan.next_offset > batch[-1].offset:
        return batch
    return [record for record in batch if record.offset < plan.next_offset]
