"""Carries a batch of Plans out in one Kafka transaction: the steps N5 to N7, A, F and U of delivery.md 3.

The law: a Plan is committed exactly once, or its partition is dropped. What became of a transaction is never guessed:
it is read from the metadata of the committed offsets. May not contain: a client, or what a Plan means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import structlog

from stagepost.edges.clock import REAL, Clock
from stagepost.edges.errors import Abort, Drop, Fenced, NewProducer, Refused, Retry, Stop, Unfit, Unstable
from stagepost.edges.ports import (
    PROTO,
    Committed,
    Counters,
    Membership,
    Placed,
    TransactionalProducer,
    encode_metadata,
)
from stagepost.edges.watchdog import Watchdog
from stagepost.engine.plan import CONTROL_KEY, Control, Emit, PartitionPlan, Topic, encode_control

SLOW_COMMIT_S = 0.05
"""Undisturbed commits took 0.8 to 8.8 ms, silently repeated ones 85 to 138: after one of those a late copy of the
request may still be under way, and would end half of the next transaction of the same producer (delivery.md 1.4)."""

ATTEMPTS = 3
"""Of a batch of which nothing comes. The reason is then in the batch, or a person has to look."""

TRIES = 6
"""Of a batch, those counted of which the outcome was unknown: that is a matter of the broker, and passes."""

DIVISIBLE_ATTEMPTS = 2
"""The same where the batch can be tried in halves instead."""

_TELL_AGAIN_S = 30.0
"""Between two log lines about a broker that stays away."""

_PAUSE_S = 0.1
"""Between repetitions of a call that the broker could not serve."""


@dataclass(frozen=True)
class Written:
    """What a committed Plan left behind: its control record's bytes and place; None without a state topic."""

    control: bytes = b""
    placed: Placed | None = None


@dataclass(frozen=True)
class Kind:
    """What is the same for all Plans of a role."""

    state: Topic | None
    """Where states and control records go; None for a role without state."""
    codec: int
    writer: str
    """Of this process and no other, living or dead."""
    partitions: int = 0
    """Of the input."""


class _Fate(Enum):
    COMMITTED = auto()
    NOT_COMMITTED = auto()
    NOT_OURS = auto()


class Transactions:
    """One transactional producer at a time, replaced where the protocol asks for it. For one thread."""

    def __init__(
        self,
        new_producer: Callable[[], TransactionalProducer],
        committed: Callable[[int, float], Committed | None],
        kind: Kind,
        counters: Counters,
        watchdog: Watchdog,
        budget_s: float,
        failpoint: Callable[[str], None],
        stopping: Callable[[], bool],
        clock: Clock = REAL,
    ) -> None:
        """``budget_s``: for each call, repetitions included; below the transaction timeout."""
        self._new_producer = new_producer
        self._committed = committed
        self._kind = kind
        self._counters = counters
        self._watchdog = watchdog
        self._budget_s = budget_s
        self._at = failpoint
        self._stopping = stopping
        self._clock = clock
        self._producer: TransactionalProducer | None = None
        self._replace_because: str | None = None
        self._written: Mapping[int, Written] = {}
        self.waiting = False
        """Whether Kafka did not answer the last call in time. For other threads too."""
        self._log = structlog.get_logger(__name__)

    def open(self) -> None:
        """Start the producer, so that a former owner's transaction ends now. Raises Stop when the broker stays away."""
        # Longer than for a call: a broker that restarts takes up to 12 s, and there is nothing else to do meanwhile.
        self._fresh(self._clock.monotonic() + 4 * self._budget_s)

    def carry_out(
        self, plans: Sequence[PartitionPlan], member: Membership, attempts: int = ATTEMPTS
    ) -> Mapping[int, Written]:
        """Commit ``plans``, one for each partition. Raises Drop when they are not ours to commit, Refused when they
        were aborted ``attempts`` times, and Stop.

        ``member`` is from before the batch was computed, and stays the same over all attempts.
        """
        aborted = 0
        for attempt in range(TRIES):
            try:
                return self._attempt(plans, member)
            except Abort as error:
                self._log.warning("transaction aborted", reason=str(error), attempt=attempt)
                self._abandon()
                if isinstance(error, Unfit):
                    # The numbers of the records that were never sent are missing: seen to fail a later transaction.
                    self._replace_because = self._replace_because or "refused"
                last: Exception = error
                aborted += 1
                if aborted == attempts:
                    raise Refused(f"the batch was refused {attempts} times, {_places(plans)}: {error}") from error
            except Drop:
                self._counters.add({("fenced_total",): 1})
                self._abandon()
                raise
            except NewProducer as error:
                self._log.warning("outcome of a transaction unknown", reason=str(error), attempt=attempt)
                self._count("unknown")
                if isinstance(error, Fenced):
                    self._counters.add({("fenced_total",): 1})
                fate = self._settle(plans, "fenced" if isinstance(error, Fenced) else "unknown")
                if fate is _Fate.COMMITTED:
                    self._count("committed")
                    return self._written
                if fate is _Fate.NOT_OURS:
                    self._counters.add({("fenced_total",): 1})
                    raise Drop("committed offsets that are not of this batch: another owner went on") from error
                last = error
        raise Stop(f"nothing came of {TRIES} attempts at a batch, {_places(plans)}: {last}") from last

    def close(self) -> None:
        if self._producer is not None:
            self._producer.discard()
            self._producer = None

    def _attempt(self, plans: Sequence[PartitionPlan], member: Membership) -> Mapping[int, Written]:
        producer = self._ready()
        self._repeat("begin", producer.begin, 0)
        controls: dict[int, bytes] = {}
        places: dict[int, Placed] = {}
        offsets = {plan.partition: (plan.next_offset, encode_metadata(plan.seq, self._kind.writer)) for plan in plans}
        for number, plan in enumerate(plans):
            controls[plan.partition] = self._send(producer, plan, places)
            if number == 0:
                self._at("mid_produce")
        self._repeat("flush", lambda: producer.flush(self._budget_s), self._budget_s)
        self._at("before_offsets")
        self._repeat("send_offsets", lambda: producer.send_offsets(offsets, member, self._budget_s / 2), self._budget_s)
        self._at("after_offsets")
        self._written = {
            plan.partition: Written(controls[plan.partition], places.get(plan.partition)) for plan in plans
        }
        self._at("before_end")
        self._end("commit", producer.commit)
        self._at("committed")
        self._count("committed")
        if producer.disturbed():
            self._replace_because = self._replace_because or "disconnect"
        return self._written

    def _send(self, producer: TransactionalProducer, plan: PartitionPlan, places: dict[int, Placed]) -> bytes:
        """Outputs, states, and last of all the control record: whoever has read it has read everything before it."""
        send, partition = producer.send, plan.partition
        for emit in plan.emits:
            send(emit)
        state = self._kind.state
        if state is None:
            return b""
        for key, value in plan.states.items():
            send(Emit(state, key.encode(), value, (), partition))
        control = encode_control(
            Control(
                seq=plan.seq,
                in_off=plan.next_offset,
                clock=plan.clock,
                n_out=len(plan.emits),
                n_states=len(plan.states),
                definitions=dict(plan.definitions),
                codec=self._kind.codec,
                proto=PROTO,
                writer=self._kind.writer,
                partitions=self._kind.partitions,
            )
        )

        def placed(place: Placed) -> None:
            places[plan.partition] = place

        producer.send(Emit(state, CONTROL_KEY, control, partition=plan.partition), placed)
        return control

    def _end(self, what: str, call: Callable[[float], None]) -> None:
        """Commit or abort. A late copy of either would end half of the next transaction."""
        began = self._clock.monotonic()
        self._repeat(what, lambda: call(self._budget_s / 2), self._budget_s)
        if self._clock.monotonic() - began > SLOW_COMMIT_S:
            self._replace_because = self._replace_because or f"slow_{what}"

    def _repeat(self, what: str, call: Callable[[], None], budget_s: float) -> None:
        """Call until it succeeds; once the budget is spent the producer is given up."""
        deadline = self._clock.monotonic() + budget_s
        # Twice the budget: the last repetition may begin just before the deadline, and has a timeout of its own.
        with self._watchdog.limit(2 * self._budget_s + 5, what):
            repeated = False
            while True:
                try:
                    call()
                    self.waiting = False
                    return
                except Abort as error:
                    if repeated and what == "commit":
                        # The one before may have been carried out, its answer lost: run again it might be there twice.
                        raise NewProducer(f"refused when it was repeated: {error}") from error
                    raise
                except Retry as error:
                    repeated = self.waiting = True
                    self._replace_because = self._replace_because or "retriable"
                    if self._clock.monotonic() > deadline:
                        raise NewProducer(f"{what}: not done after {budget_s:g} s: {error}") from error
                    self._clock.sleep(_PAUSE_S)

    def _abandon(self) -> None:
        """Abort; a producer that cannot even do that is replaced, and the start of its successor aborts."""
        assert self._producer is not None
        self._count("aborted")
        try:
            self._end("abort", self._producer.abort)
        except (Abort, NewProducer, Drop) as error:
            self._log.warning("abort failed", reason=str(error))
            self._fresh_because("fatal")

    def _settle(self, plans: Sequence[PartitionPlan], reason: str) -> _Fate:
        """U: a new producer ends the transaction either way; then the committed offsets tell which way."""
        self._fresh_because(reason)
        deadline = self._clock.monotonic() + 2 * self._budget_s
        fates = set()
        for plan in plans:
            at = self._ask(plan.partition, deadline)
            if at is not None and (at.seq, at.writer) == (plan.seq, self._kind.writer):
                fates.add(_Fate.COMMITTED)
            elif (0 if at is None else at.seq or 0) == plan.seq - 1:
                fates.add(_Fate.NOT_COMMITTED)
            else:
                fates.add(_Fate.NOT_OURS)
        # One transaction, so anything but agreement means that somebody else committed in between.
        return fates.pop() if len(fates) == 1 else _Fate.NOT_OURS

    def _ask(self, partition: int, deadline: float) -> Committed | None:
        while True:
            try:
                with self._watchdog.limit(2 * self._budget_s + 5, "committed"):
                    return self._committed(partition, 1.0)
            except Unstable as error:
                if self._clock.monotonic() > deadline or self._stopping():
                    raise Stop(f"what became of a transaction cannot be read: {error}") from error
                self._clock.sleep(_PAUSE_S)

    def _ready(self) -> TransactionalProducer:
        if self._producer is not None and self._producer.disturbed():
            # A broker that restarted while nothing was to be done: ``send_offsets`` was seen to hang after that.
            self._replace_because = self._replace_because or "disconnect"
        if self._producer is not None and self._replace_because is not None:
            self._fresh_because(self._replace_because)
        if self._producer is None:
            self._fresh()
        assert self._producer is not None
        return self._producer

    def _fresh_because(self, reason: str) -> None:
        self._counters.add({("producers_replaced_total", reason): 1})
        self._log.info("producer replaced", reason=reason)
        self._fresh()

    def _fresh(self, deadline: float | None = None) -> None:
        """Without ``deadline`` the broker is waited for; what has passed to others meanwhile is refused later on."""
        self.close()
        self._replace_because = None
        told_at = self._clock.monotonic()
        while True:
            producer = self._new_producer()
            try:
                with self._watchdog.limit(2 * self._budget_s + 5, "init"):
                    producer.init(self._budget_s)
            except (Retry, NewProducer, Abort) as error:
                producer.discard()
                self.waiting = True
                now = self._clock.monotonic()
                if (deadline is not None and now > deadline) or self._stopping():
                    asked = "does Kafka answer (setting kafka.bootstrap_servers)?"
                    raise Stop(f"no transactional producer could be started: {error}; {asked}") from error
                if now > told_at + _TELL_AGAIN_S:
                    told_at = now
                    self._log.warning("waiting for Kafka (setting kafka.bootstrap_servers)", reason=str(error))
                self._clock.sleep(_PAUSE_S)
                continue
            producer.disturbed()  # what happened while it started is no matter
            self._producer = producer
            self.waiting = False
            return

    def _count(self, result: str) -> None:
        self._counters.add({("transactions_total", result): 1})


def _places(plans: Sequence[PartitionPlan]) -> str:
    return "input " + ", ".join(f"[{plan.partition}] below offset {plan.next_offset}" for plan in plans)
