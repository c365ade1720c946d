"""The ``rollup`` role as a pure processor: tallies to metric windows and alerts, one Plan per partition and batch.

Law: everything is driven by the records, one after another in the order of the log. Event time is the watermark, the
pace of writing is the broker's time of the records; so neither the cut into batches nor a restart changes an output.
May not contain: how counts add up (``rollup/``), what a spike is (``alerts/``), a client, a clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import Struct

from stagepost.alerts import (
    Alarm,
    AlertRecord,
    AlertScope,
    Change,
    Review,
    Surroundings,
    advance,
    judge,
    spike_record,
)
from stagepost.alerts.record import rounded
from stagepost.engine import cloudevents
from stagepost.engine.dead_letters import dead_letter
from stagepost.engine.plan import Control, Emit, PartitionPlan, Record, TimersWanted, Topic
from stagepost.engine.rollup_state import (
    CODEC,
    INPUTS_KEY,
    Scope,
    due_of,
    pack_inputs,
    pack_scope,
    scan_of,
    scopes_in,
    unpack_inputs,
    unpack_scope,
)
from stagepost.events import (
    BIN,
    DAY,
    MICROS,
    MetricScope,
    Reason,
    Rejected,
    Tally,
    TallyBatch,
    decode_tally_batch,
    encode_json,
    rfc3339,
    stable_id,
)
from stagepost.rollup.counters import Cell
from stagepost.rollup.metrics import metric_window, providers_of, rates_of
from stagepost.rollup.watermark import Inputs, Taken
from stagepost.rollup.windows import WINDOWS, Window

WRITE_EVERY = 30 * MICROS
"""Broker time between two writes of the changed windows of a scope (design.md 3.4)."""

STALL = 7 * DAY
"""An input that lags further behind the furthest one no longer keeps old windows open, so that state stays bounded."""

REPUBLISHED = DAY
"""Incidents resolved within this span before the watermark are told again after an assignment: a crash between commit
and publication can have lost the last word on them."""

_AHEAD = 2 * DAY
"""A bin further ahead of the broker is no event time: events are refused from one day ahead on."""

_NAME_LIMIT = 512
"""Characters of a scope's type, id and of a metric; ids of campaigns have 256 at most."""

_SCOPES_LEARNT = 5_000
"""Scopes whose next time is asked for at once, after a restart."""

METRICS_LIMIT = 80
"""Metrics of one scope, providers included: more than twice what there is. With as many its state, and each record of
it, is still far from what a topic takes."""

_COUNT_LIMIT = 1 << 40
"""Most of one metric in one record: a sum over the life of a scope then stays a number that can be written."""


class Detection(Struct, frozen=True):
    """What is watched: alert metric, tally metric of its events, tally metric of its deliveries, scope types."""

    metric: str
    events: str
    base: str
    scopes: frozenset[str]


DETECTIONS = (
    Detection("complaint", "complained", "delivered", frozenset({"campaign"})),
    Detection("unsubscribe", "unsubscribed.spike", "delivered", frozenset({"campaign"})),
)


@dataclass(slots=True)
class RollupPartition:
    """What the worker remembers of one partition; changed by ``learn``, ``load`` and ``applied`` only."""

    number: int
    seq: int
    clock: int
    """The watermark, micros; 0 while it is not known."""
    next_offset: int
    inputs: Inputs | None
    """None: not loaded yet."""
    due: dict[str, int] = field(default_factory=dict)
    learnt: int | None = None
    """Up to where ``due`` was learnt; None: to the end."""
    cache: OrderedDict[str, Scope | None] = field(default_factory=OrderedDict)
    """Least recently used first; None for a scope without state."""
    firing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Metrics with a live incident, by scope; of scopes that have one."""


@dataclass(frozen=True, slots=True)
class RollupBatch:
    """Records, each with what was read from it, and the scopes that may have to be looked at without counts."""

    items: tuple[tuple[Record, TallyBatch | Rejected], ...]
    next_offset: int
    waiting: tuple[str, ...]
    needs: Collection[str]
    watermark: int | None = None
    """The scopes due by it are those that wait; None: it is not known, and all that are ever due are."""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class RollupProcessor:
    """``Stateful`` for ``stagepost.tallies``. ``event_partitions``: count of ``email.events``, whose clocks make the
    watermark; ``cache_scopes``: scopes kept decoded for each partition."""

    event_partitions: int
    cache_scopes: int = 2_000
    prefix: str = ""
    group: str = ""
    detections: tuple[Detection, ...] = DETECTIONS
    input: Topic = Topic.TALLIES
    state: Topic = Topic.ROLLUP
    codec: int = CODEC
    announces: bool = True
    surveys: bool = False
    switching: None = None

    @property
    def definitions(self) -> Mapping[str, str]:
        """What computed a batch: the detections, in the form of a journey's version."""
        return {"detections": stable_id(encode_json([_plain(detection) for detection in self.detections]).decode())[:8]}

    def due(self, value: bytes) -> int | None:
        return due_of(value)

    def forgets(self, value: bytes) -> bool:
        return False

    def open(self, partition: int, partitions: int, control: Control | None) -> RollupPartition:
        if control is None:
            return RollupPartition(number=partition, seq=0, clock=0, next_offset=0, inputs=Inputs())
        return RollupPartition(
            number=partition, seq=control.seq, clock=control.clock, next_offset=control.in_off, inputs=None, learnt=-1
        )

    def read(
        self, partition: RollupPartition, records: Sequence[Record], next_offset: int, now: int | None
    ) -> RollupBatch:
        items = tuple((record, self._read(record)) for record in records)
        touched: dict[str, None] = {}
        inputs = partition.inputs
        for record, batch in items:
            if isinstance(batch, TallyBatch):
                touched.update((_key(delta.scope_type, delta.scope_id), None) for delta in batch.deltas)
                if inputs is not None:
                    inputs = inputs.took(batch.p, batch.seq, batch.clock, record.timestamp)
        needs = [key for key in touched if key not in partition.cache]
        if items and inputs is None:
            needs.append(INPUTS_KEY)
        # After a restart the clocks are read together with the states, so all that could be due is.
        watermark = None if inputs is None else inputs.watermark(self.event_partitions) or 0
        return _with_waiting(partition, RollupBatch(items, next_offset, (), needs, watermark))

    def refuse(self, partition: RollupPartition, record: Record, why: Rejected) -> RollupBatch:
        needs = [INPUTS_KEY] if partition.inputs is None else []
        return RollupBatch(((record, why),), record.offset + 1, (), needs, refused=True)

    def unknown(self, partition: RollupPartition, batch: RollupBatch) -> TimersWanted | None:
        if partition.learnt is None or batch.refused or not batch.items:
            return None
        return TimersWanted(partition.learnt, _SCOPES_LEARNT)

    def learn(
        self, partition: RollupPartition, batch: RollupBatch, due: Mapping[str, int], until: int | None
    ) -> RollupBatch:
        partition.due.update(due)
        partition.learnt = until
        return _with_waiting(partition, batch)

    def load(self, partition: RollupPartition, values: Mapping[str, bytes | None]) -> None:
        for key, value in values.items():
            if key == INPUTS_KEY:
                partition.inputs = Inputs() if value is None else unpack_inputs(value)
            else:
                partition.cache[key] = None if value is None else unpack_scope(value)

    def plan(self, partition: RollupPartition, batch: RollupBatch) -> PartitionPlan | None:
        if not batch.items and batch.next_offset == partition.next_offset:
            return None
        try:
            return self._plan(_Rollup(self, partition, batch.waiting), batch)
        except Exception:
            # Which record it was, and that it leaves nothing behind, is seen when each is undone by itself.
            return self._plan(_CarefulRollup(self, partition, batch.waiting), batch)

    def _plan(self, out: _Rollup, batch: RollupBatch) -> PartitionPlan:
        for record, read in batch.items:
            if isinstance(read, Rejected):
                out.reject(record, read)
            elif (refused := out.take(record, read)) is not None:
                out.reject(record, refused)
        return out.plan(batch.next_offset)

    def applied(self, partition: RollupPartition, plan: PartitionPlan) -> None:
        partition.seq, partition.clock, partition.next_offset = plan.seq, plan.clock, plan.next_offset
        for key, entry in plan.entries.items():
            if key == INPUTS_KEY:
                partition.inputs = entry
                continue
            due = plan.due[key]
            if due is None:
                partition.due.pop(key, None)
            else:
                partition.due[key] = due
            partition.cache[key] = entry
            partition.cache.move_to_end(key)
            _note_firing(partition, key, entry)
        while len(partition.cache) > self.cache_scopes:
            partition.cache.popitem(last=False)

    def assigned(self, partition: RollupPartition, values: Mapping[str, bytes]) -> tuple[Emit, ...]:
        """The newest record of every incident that is live, or that was resolved a short while ago."""
        emits = []
        for key, scope in scopes_in(values).items():
            _note_firing(partition, key, scope)
            for metric, alarm in scope.alarms.items():
                if _is_told(alarm, partition.clock) and metric in scope.records:
                    emits.append(_alert(self, scope.records[metric]))
        return tuple(emits)

    def survey(self, partition: RollupPartition, values: Mapping[str, bytes | None], done: bool) -> None:
        """Nothing is asked for."""

    def gauges(self, partition: RollupPartition, clock: int) -> Mapping[tuple[str, ...], float]:
        firing = Counter(metric for metrics in partition.firing.values() for metric in metrics)
        return {("alert_active", detection.metric): firing[detection.metric] for detection in self.detections}

    def _read(self, record: Record) -> TallyBatch | Rejected:
        try:
            batch = decode_tally_batch(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Rejected(Reason.SCHEMA, f"not a tally batch: {error}")
        if not (batch.seq > 0 and 0 <= batch.clock <= record.timestamp + _AHEAD):
            return Rejected(Reason.SCHEMA, "a batch number above 0 and a clock that is not ahead of the broker needed")
        if not 0 <= batch.p < self.event_partitions:
            return Rejected(Reason.SCHEMA, f"input partition {batch.p} of {self.event_partitions}")
        newest = (record.timestamp + _AHEAD) // BIN
        for at, delta in enumerate(batch.deltas):
            if not _is_valid(delta, newest):
                return Rejected(Reason.SCHEMA, f"delta {at}: a scope, a past bin, a metric and a number above 0 needed")
        return batch


class _Rollup:
    """Computes one batch on copies, record by record."""

    def __init__(self, processor: RollupProcessor, partition: RollupPartition, waiting: Iterable[str]) -> None:
        assert partition.inputs is not None, "the runner loads what a batch needs before it asks for the Plan"
        self._processor = processor
        self._partition = partition
        self._inputs = partition.inputs
        self._waiting = set(waiting)
        self._scopes: dict[str, Scope] = {}
        self._emits: list[Emit] = []
        self._after: list[Emit] = []
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._source = cloudevents.source(processor.prefix, "rollup")

    def reject(self, record: Record, rejected: Rejected) -> None:
        processor = self._processor
        full_name = processor.prefix + record.topic
        self._emits.append(dead_letter(record, Topic.TALLIES_DLQ, full_name, processor.group, [rejected]))
        self._counts["tally_batches_total", "malformed"] += 1
        self._counts["events_dead_lettered_total", rejected.reason] += 1

    def take(self, record: Record, batch: TallyBatch) -> Rejected | None:
        """Count one batch, then do everything that the time has come for; or why it is not taken at all."""
        taken = self._inputs.judge(batch.p, batch.seq)
        if taken is Taken.DUPLICATE:
            self._counts["tally_batches_total", taken] += 1
            return None
        scopes = _by_scope(batch.deltas)
        if (key := self._overfull(scopes)) is not None:
            return Rejected(Reason.OVERSIZE, f"scope {key} would have more than {METRICS_LIMIT} metrics")
        self._counts["tally_batches_total", taken] += 1
        self._inputs = self._inputs.took(batch.p, batch.seq, batch.clock, record.timestamp)
        watermark = self._watermark()
        for key, bins in scopes.items():
            self._count(key, bins, watermark)
        for key in sorted(self._waiting):
            self._attend(key, watermark)
        return None

    def _overfull(self, scopes: Mapping[str, Mapping[int, Mapping[str, int]]]) -> str | None:
        """A scope that would get more metrics than a state can hold."""
        for key, bins in scopes.items():
            names = set().union(*bins.values())
            known = self._scopes.get(key) or self._partition.cache[key]
            if known is not None:
                names = names.union(known.counters.names)
            if len(names) > METRICS_LIMIT:
                return key
        return None

    def plan(self, next_offset: int) -> PartitionPlan:
        states: dict[str, bytes | None] = {key: pack_scope(scope) for key, scope in self._scopes.items()}
        due: dict[str, int | None] = {key: scope.due for key, scope in self._scopes.items()}
        states[INPUTS_KEY], due[INPUTS_KEY] = pack_inputs(self._inputs), None
        watermark = self._watermark()
        return PartitionPlan(
            partition=self._partition.number,
            seq=self._partition.seq + 1,
            next_offset=next_offset,
            clock=max(self._partition.clock, watermark or 0),
            emits=tuple(self._emits),
            states=states,
            due=due,
            entries={**self._scopes, INPUTS_KEY: self._inputs},
            after=tuple(self._after),
            counts=self._counts,
            gauges={} if watermark is None else {("tally_watermark_seconds",): watermark / MICROS},
            definitions=self._processor.definitions,
        )

    def _watermark(self) -> int | None:
        return self._inputs.watermark(self._processor.event_partitions)

    def _reference(self, watermark: int | None) -> int:
        return max(watermark or 0, self._inputs.furthest() - STALL)

    def _scope(self, key: str) -> Scope:
        """The batch's own copy of a scope."""
        scope = self._scopes.get(key)
        if scope is None:
            known = self._partition.cache[key]
            scope = self._scopes[key] = Scope() if known is None else known.copy()
        return scope

    def _count(self, key: str, bins: Mapping[int, Mapping[str, int]], watermark: int | None) -> None:
        scope, type_ = self._scope(key), key.split("/", 1)[0]
        reference = self._reference(watermark)
        for bin_, deltas in bins.items():
            for window, n in scope.counters.add(bin_, deltas, reference).items():
                self._counts["tally_late_total", window] += n
            for final_at in (window.final_at(window.start_of(bin_)) for window in WINDOWS):
                if final_at is not None:
                    scope.close_at = final_at if scope.close_at is None else min(scope.close_at, final_at)
        if scope.flush_at is None:
            scope.flush_at = max(self._inputs.now, scope.flushed_at + WRITE_EVERY)
        self._waiting.add(key)
        for detection in self._processor.detections:
            if type_ in detection.scopes:
                self._detect(key, scope, detection, bins, watermark)

    def _detect(
        self,
        key: str,
        scope: Scope,
        detection: Detection,
        bins: Mapping[int, Mapping[str, int]],
        watermark: int | None,
    ) -> None:
        metric = detection.metric
        scan = scope.scans.get(metric) or scan_of(metric)
        for bin_, deltas in bins.items():
            scan.observe(bin_, deltas.get(detection.base, 0), deltas.get(detection.events, 0))
        if scan.newest is None:
            return
        scope.scans[metric] = scan
        alarm = scope.alarms.get(metric, Alarm())
        for bin_ in sorted(bin_ for bin_, deltas in bins.items() if detection.events in deltas):
            alarm, change = judge(alarm, scan, bin_, key.split("/", 1)[0])
            if change is not None:
                self._tell(key, scope, metric, change, watermark)
        if alarm != Alarm():
            scope.alarms[metric] = alarm

    def _attend(self, key: str, watermark: int | None) -> None:
        """Close windows, move incidents, write changes: whatever is due of a scope now."""
        known = self._scopes.get(key) or self._partition.cache[key]
        if known is None:
            return
        closes = watermark is not None and known.close_at is not None and known.close_at <= watermark
        writes = known.flush_at is not None and known.flush_at <= self._inputs.now
        moves = watermark is not None and any(
            alarm.waits and alarm.incident is not None and alarm.incident.stepped_to < watermark // BIN - 1
            for alarm in known.alarms.values()
        )
        if not (closes or writes or moves):
            return
        scope = self._scope(key)
        if closes and watermark is not None:
            for window, start, cell in scope.counters.close(watermark):
                self._write(key, scope, window, start, cell, watermark)
        if moves and watermark is not None:
            for metric, alarm in scope.alarms.items():
                scope.alarms[metric], changes = advance(
                    alarm, scope.scans[metric], watermark // BIN - 1, key.split("/", 1)[0]
                )
                for change in changes:
                    self._tell(key, scope, metric, change, watermark)
        if writes:
            for window, start, cell in scope.counters.flush():
                self._write(key, scope, window, start, cell, watermark)
            scope.flushed_at, scope.flush_at = self._inputs.now, None
        scope.counters.forget(self._reference(watermark))
        if closes:
            scope.close_at = scope.counters.next_due()

    def _write(self, key: str, scope: Scope, window: Window, start: int, cell: Cell, watermark: int | None) -> None:
        type_, id_ = key.split("/", 1)
        record = metric_window(
            MetricScope(type_, id_),
            window,
            start,
            scope.counters.counts(cell),
            scope.counters.life(),
            rev=cell.rev,
            final=cell.final,
            watermark=watermark,
        )
        record_key = f"{key}/{record.window}/{record.start}"
        headers = cloudevents.headers(
            cloudevents.METRIC, self._source, f"{record_key}/{record.rev}", rfc3339(self._inputs.now), key
        )
        self._emits.append(
            Emit(topic=Topic.METRICS, key=record_key.encode(), value=encode_json(record), headers=headers)
        )

    def _tell(self, key: str, scope: Scope, metric: str, change: Change, watermark: int | None) -> None:
        type_, id_ = key.split("/", 1)
        scan, life = scope.scans[metric], scope.counters.life()
        known = Surroundings(
            watermark=watermark,
            sources=providers_of(life),
            first_send=scan.first_exposure,
            review=_review(life),
            threshold=scan.threshold,
            prior_shape=scan.prior.shape,
        )
        record = spike_record(self._processor.prefix, metric, AlertScope(type_, id_), change, known)
        scope.records[metric] = record
        self._after.append(_alert(self._processor, record))
        if record.rev == 1:
            self._counts["alerts_total", metric, record.severity] += 1


class _CarefulRollup(_Rollup):
    """The same, at the price of a copy of all that a record touches: one that fails is a dead letter and no more."""

    def take(self, record: Record, batch: TallyBatch) -> Rejected | None:
        inputs, waiting = self._inputs, set(self._waiting)
        scopes = {key: scope.copy() for key, scope in self._scopes.items()}
        emits, after, counts = len(self._emits), len(self._after), Counter(self._counts)
        try:
            refused = super().take(record, batch)
            if refused is None:
                for key in self._scopes.keys() & {_key(d.scope_type, d.scope_id) for d in batch.deltas}:
                    pack_scope(self._scopes[key])
            return refused
        except Exception as error:
            self._inputs, self._waiting, self._scopes, self._counts = inputs, waiting, scopes, counts
            del self._emits[emits:], self._after[after:]
            return Rejected(Reason.RULE_ERROR, f"{type(error).__name__} while the counts were added")


def _note_firing(partition: RollupPartition, key: str, scope: Scope) -> None:
    firing = tuple(
        metric
        for metric, alarm in scope.alarms.items()
        if alarm.incident is not None and alarm.incident.resolved_at is None
    )
    if firing:
        partition.firing[key] = firing
    else:
        partition.firing.pop(key, None)


def _alert(processor: RollupProcessor, record: AlertRecord) -> Emit:
    headers = cloudevents.headers(
        cloudevents.ALERT,
        cloudevents.source(processor.prefix, "rollup"),
        f"{record.incident_id}/{record.rev}",
        record.evaluated_to,
        f"{record.scope.type}/{record.scope.id}",
    )
    return Emit(topic=Topic.ALERTS, key=record.fingerprint.encode(), value=encode_json(record), headers=headers)


def _is_told(alarm: Alarm, watermark: int) -> bool:
    incident = alarm.incident
    if incident is None:
        return False
    return incident.resolved_at is None or (incident.resolved_at + 1) * BIN + REPUBLISHED >= watermark


def _review(life: Mapping[str, int]) -> Review:
    """What the counts of the scope's life say of the list: the rates that are published with the metrics."""
    rates = rates_of(life, life)
    bounce, unsubscribe = rates.get("bounce"), rates.get("unsubscribe")
    return Review(
        bounce_rate=None if bounce is None else rounded(bounce.n / bounce.of),
        unsubscribe_rate=None if unsubscribe is None else rounded(unsubscribe.n / unsubscribe.of),
    )


def _with_waiting(partition: RollupPartition, batch: RollupBatch) -> RollupBatch:
    """The batch with the scopes that are due by now, as far as they are known."""
    if not batch.items:
        return batch
    due, watermark = partition.due, batch.watermark
    waiting = tuple(due) if watermark is None else tuple(key for key, at in due.items() if at <= watermark)
    more = (key for key in waiting if key not in partition.cache)
    return replace(batch, waiting=waiting, needs=tuple(dict.fromkeys((*batch.needs, *more))))


def _key(scope_type: str, scope_id: str) -> str:
    """State key of a scope."""
    return f"{scope_type}/{scope_id}"


def _by_scope(deltas: Sequence[Tally]) -> dict[str, dict[int, dict[str, int]]]:
    """Deltas by state key, bin and metric; each level in order, so that the order within a batch is none."""
    grouped: dict[str, dict[int, dict[str, int]]] = {}
    for type_, id_, bin_, metric, n in sorted((d.scope_type, d.scope_id, d.bin, d.metric, d.n) for d in deltas):
        metrics = grouped.setdefault(_key(type_, id_), {}).setdefault(bin_, {})
        metrics[metric] = metrics.get(metric, 0) + n
    return grouped


def _is_valid(delta: Tally, newest: int) -> bool:
    names = (delta.scope_type, delta.scope_id, delta.metric)
    if not all(0 < len(name) <= _NAME_LIMIT and "\x00" not in name for name in names) or "/" in delta.scope_type:
        return False
    return 0 <= delta.bin <= newest and 0 < delta.n <= _COUNT_LIMIT


def _plain(detection: Detection) -> tuple[str, ...]:
    return (detection.metric, detection.events, detection.base, *sorted(detection.scopes))
